from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from ratelimit.draw import Algorithm, Draw, Op, Standing, Terms
from ratelimit.errors import StoreRefused, StoreTimeout, StoreUnavailable
from ratelimit.store import Admission, AdmissionOutcome
from ratelimit.stores import redis_admit
from ratelimit.stores.redis_admit import AdmissionShare, gather, read, runs, write
from serving.redis_node import Command

TERMS = Terms(Algorithm.SLIDING_WINDOW, 10, 60_000, 10)
DRAW = Draw("{k}", Op.CHARGE, 1, TERMS)


def outcomes(reply: Any, draws: int = 1, times: int = 1) -> Sequence[AdmissionOutcome]:
    share = AdmissionShare(0, Admission([DRAW] * draws, math.inf), times=times)
    read(Command((), reply=reply), [share])
    return share.outcomes


def outcome(reply: Any, draws: int = 1) -> AdmissionOutcome:
    return outcomes(reply, draws)[0]


@pytest.mark.parametrize(
    "reply", [7, None, b"OK", [], [None], [1, 2, 3, 0], [1, 2, b"3", 0, 5], [1, None, 3, 0, 5]], ids=repr
)
def test_an_answer_that_makes_no_sense_may_have_happened(reply: Any) -> None:
    assert isinstance(outcome(reply), StoreTimeout)


def test_half_an_answer_may_have_happened() -> None:
    assert isinstance(outcome([0, 1, 0, 0, 9], draws=2), StoreTimeout)


@pytest.mark.parametrize(
    "reply",
    [[0, 5, 0, 0, 9, 4, 0], [0, 5, 0, 0, 9, 0, 0], [0, 5, 0, 0, 9, 2, 0], [0, 5, 0, 0, 9, 3], [0, 5, 0, 0, 9, b"3", 0]],
)
def test_an_answer_to_more_or_fewer_than_were_asked_may_have_happened(reply: Any) -> None:
    assert [type(each) for each in outcomes(reply, times=3)] == [StoreTimeout] * 3


def test_those_that_are_told_alike_stand_one_behind_the_other() -> None:
    told = outcomes([10, 15, 300, 2, 9, 2, -100, b"WRONGTYPE no counter", 20, 20, 100, 1, 7, 1, 0], times=4)

    assert told[0] == [Standing(10, 15, 300, False, 9, True)]
    assert told[1] == [Standing(15, 20, 200, False, 9, True)]
    assert isinstance(told[2], StoreRefused)
    assert told[3] == [Standing(20, 20, 100, True, 7, False)]


def test_a_call_of_the_script_has_no_more_ledgers_than_are_allowed() -> None:
    alike, other = Admission([DRAW], math.inf), Admission([DRAW], math.inf)
    shares = list(runs([alike] * 5 + [other] * 2, 3))
    calls = write(0, shares, ("", 0, 1), 3, is_cluster=False)

    assert [(share.origin, share.times) for share in shares] == [(0, 3), (3, 2), (5, 2)]
    assert [[share.origin for share in mine] for _, mine in calls] == [[0], [3], [5]]


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
