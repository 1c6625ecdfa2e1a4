from __future__ import annotations

import math
from typing import Any

import pytest

from ratelimit.draw import Algorithm, Draw, Op, Terms
from ratelimit.errors import StoreRefused, StoreTimeout, StoreUnavailable
from ratelimit.store import Admission, AdmissionOutcome
from ratelimit.stores import redis_admit
from ratelimit.stores.redis_admit import AdmissionShare, gather, read
from serving.redis_node import Command

TERMS = Terms(Algorithm.SLIDING_WINDOW, 10, 60_000, 10)
DRAW = Draw("{k}", Op.CHARGE, 1, TERMS)


def outcome(reply: Any, draws: int = 1) -> AdmissionOutcome:
    share = AdmissionShare(0, Admission([DRAW] * draws, math.inf))
    read(Command((), reply=reply), [share])
    return share.outcomes[0]


@pytest.mark.parametrize(
    "reply", [7, None, b"OK", [], [None], [1, 2, 3, 0], [1, 2, b"3", 0, 5], [1, None, 3, 0, 5]], ids=repr
)
def test_an_answer_that_makes_no_sense_may_have_happened(reply: Any) -> None:
    assert isinstance(outcome(reply), StoreTimeout)


def test_half_an_answer_may_have_happened() -> None:
    assert isinstance(outcome([0, 1, 0, 0, 9], draws=2), StoreTimeout)


def test_what_the_script_says_of_a_counter_is_told_in_its_words() -> None:
    assert repr(outcome([b"WRONGTYPE no counter"])) == repr(StoreRefused("WRONGTYPE no counter"))


def test_a_whole_of_which_a_part_did_not_happen_may_have_happened() -> None:
    standings = outcome([0, 1, 0, 0, 9])
    parts = [AdmissionShare(0, Admission([DRAW], math.inf), [at]) for at in range(2)]
    parts[0].outcomes, parts[1].outcomes = [standings], [StoreUnavailable("away")]
    [whole] = gather(Admission([DRAW] * 2, math.inf), parts)

    assert isinstance(whole, StoreTimeout)


def test_terms_without_end_are_written_rightly() -> None:
    """Rules that are loaded again and again bring new ones: more than are remembered."""
    kept = [Terms(Algorithm.TOKEN_BUCKET, number) for number in range(redis_admit._TEXTS_MAX + 10)]

    texts = [redis_admit._terms(terms) for terms in kept]

    assert [text.split()[1] for text in texts] == [str(number) for number in range(len(kept))]
    assert len(redis_admit._TEXTS) <= redis_admit._TEXTS_MAX
