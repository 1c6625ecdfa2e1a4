from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache.answers import Answer, Outcome
from semcache.entry import Completion, Usage
from semcache.namespaces import Demand
from semcache.tallies import Tally, share
from tests.fakes.caches import namespace
from tests.fakes.entries import entry

PRICES = {"input": 2.0, "output": 10.0, "lookup": 1.0}


def hit(usage: Usage) -> Answer:
    return Answer(Outcome.EXACT, entry=entry("p", completion=Completion("a", usage=usage)))


@pytest.mark.parametrize(
    ("number", "of", "bounds"),
    [(0, 0, (0.0, 1.0)), (0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634)), (10, 10, (0.7225, 1.0))],
)
def test_a_share_has_wilsons_interval(number: int, of: int, bounds: tuple[float, float]) -> None:
    found = share(number, of)

    assert (round(found.low, 4), round(found.high, 4), found.count) == (*bounds, of)


@given(st.integers(0, 1_000), st.integers(0, 1_000))
def test_an_interval_holds_its_share(number: int, others: int) -> None:
    found = share(number, number + others)

    assert 0 <= found.low <= found.value <= found.high <= 1


def test_savings_are_what_was_not_spent_less_what_lookups_cost() -> None:
    tally = Tally()
    tally.count_answer(hit(Usage(1_000_000, 500_000)))
    tally.count_answer(Answer(Outcome.MISS))

    # 1 M input at 2, half a M output at 10, two lookups at a millionth each.
    assert tally.saved_micros(namespace(prices=PRICES)) == 2_000_000 + 5_000_000 - 2


def test_savings_may_be_negative() -> None:
    tally = Tally()
    tally.count_answer(Answer(Outcome.MISS))

    assert tally.saved_micros(namespace(prices=PRICES)) == -1


def test_tokens_that_the_provider_had_cached_cost_less() -> None:
    tally = Tally()
    tally.count_answer(hit(Usage(1_000_000, 0, cached_input_tokens=400_000)))

    assert tally.saved_micros(namespace(prices={"input": 2.0, "cached_input": 0.5})) == 1_400_000


def test_a_bypass_is_no_lookup_that_was_asked() -> None:
    tally = Tally()
    for outcome in Outcome:
        tally.count_answer(Answer(outcome))

    assert (tally.asked, tally.hits, tally.misses, tally.bypasses) == (3, 2, 1, 1)


def test_another_shadow_setting_is_counted_anew() -> None:
    tally, first, second = Tally(), Demand(threshold=0.9), Demand(target_error=0.01)
    tally.count_shadow(first, is_hit=True)
    tally.count_shadow(first, is_hit=False)
    before = (tally.shadow_asked, tally.shadow_hits)

    tally.count_shadow(second, is_hit=True)

    assert (before, (tally.shadow_asked, tally.shadow_hits)) == ((2, 1), (1, 1))
