from __future__ import annotations

from itertools import pairwise

import pytest

from semcache.entry import HALF_LIFE_SECONDS, Record, State
from tests.fakes.entries import NOW, entry

ORDER = [
    ("in quarantine", Record(State.QUARANTINED, hits=1000, used_at=NOW)),
    ("used long ago", Record(used_at=NOW - 2 * HALF_LIFE_SECONDS)),
    ("used lately once", Record(hits=1, used_at=NOW - HALF_LIFE_SECONDS / 2)),
    ("used now often", Record(hits=100, used_at=NOW)),
]


@pytest.mark.parametrize(("less", "more"), list(pairwise(ORDER)), ids=[name for name, _ in ORDER[1:]])
def test_what_is_used_and_right_is_worth_more(less: tuple[str, Record], more: tuple[str, Record]) -> None:
    assert less[1].worth < more[1].worth


def test_twice_the_use_outlives_a_half_life() -> None:
    once, thrice = Record(hits=1, used_at=NOW), Record(hits=3, used_at=NOW - HALF_LIFE_SECONDS)

    assert once.worth == thrice.worth


def test_more_often_wrong_than_right_is_worth_nothing() -> None:
    assert Record(hits=100, right=1, wrong=2, used_at=NOW).worth == 0


def test_what_is_about_to_be_served_is_worth_what_it_will_be() -> None:
    assert Record(State.PENDING, used_at=NOW).worth == Record(used_at=NOW).worth


def test_feedback_that_it_was_right_counts_as_use() -> None:
    assert Record(right=2, used_at=NOW).worth == Record(hits=2, used_at=NOW).worth


@pytest.mark.parametrize(
    ("expires_at", "state", "is_live"),
    [(NOW + 0.001, State.LIVE, True), (NOW, State.LIVE, False), (NOW + 1, State.QUARANTINED, False)],
    ids=["not yet expired", "expired now", "in quarantine"],
)
def test_an_entry_is_live_until_it_expires_unless_in_quarantine(
    expires_at: float,
    state: State,
    is_live: bool,  # noqa: FBT001
) -> None:
    assert entry("p", expires_at=expires_at, record=Record(state)).is_live(NOW) is is_live


def test_no_prompt_and_no_answer_is_shown_by_accident() -> None:
    shown = repr(entry("secret prompt"))

    assert "secret" not in shown
