from __future__ import annotations

import pytest

from ratelimit.draw import Algorithm, Draw, Op, Terms
from ratelimit.stores.redis_beside import beside, text_in
from serving.redis import slot_of

REFERENCE, OWN = Terms(Algorithm.REFERENCE, 10), Terms(Algorithm.SLIDING_WINDOW, 10, 60_000, 10)


def test_every_slot_has_a_text_without_braces() -> None:
    texts = [text_in(slot) for slot in range(16_384)]

    assert [slot_of(text) for text in texts] == list(range(16_384))
    assert not any(set("{}") & set(text) for text in texts)


@pytest.mark.parametrize("key", ["k", "k{v}", "{k", "k}", "k{}", "{}{v}", "}{", "k{}}", "{{}", "}k{v}"])
def test_what_is_beside_a_counter_is_in_its_slot_whatever_braces_it_has(key: str) -> None:
    name = beside(Draw(key, Op.RESERVE, 1, REFERENCE))

    assert slot_of(f"{name}:h3") == slot_of(key)
    assert key in name


def test_a_name_of_our_own_is_kept_as_it_is() -> None:
    assert beside(Draw("w1:{llm|tenant=a}#s60s", Op.RESERVE, 1, OWN)) == "w1:{llm|tenant=a}#s60s"
