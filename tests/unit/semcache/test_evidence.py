from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache.evidence import Evidence, Label

LABELS_MAX, REQUESTS_MAX = 4, 5
LOOKUPS = st.sampled_from("abcdefgh")
TIMES = st.integers(0, 12).map(float)
LABELED = st.tuples(LOOKUPS, st.builds(Label, TIMES, st.sampled_from([1.0, 2.0]), st.booleans(), st.just(0.5)))
SCORED = st.tuples(st.none() | st.sampled_from([1.0, 2.0]), TIMES)
HEARD = st.lists(st.tuples(st.integers(0, 2), LABELED | SCORED), max_size=40)


def evidence(origin: int = 0) -> Evidence:
    return Evidence(LABELS_MAX, REQUESTS_MAX, origin)


def hear(heard: list[tuple[int, tuple[object, object]]]) -> list[Evidence]:
    """Have three replicas each hear their part."""
    replicas = [evidence(origin) for origin in range(3)]
    for replica, (first, second) in heard:
        if isinstance(second, Label):
            replicas[replica].learn(str(first), second)
        else:
            replicas[replica].note(first, second)  # type: ignore[arg-type] # as the strategy draws them
    return replicas


def joined(parts: list[Evidence]) -> Evidence:
    made = evidence(9)
    for part in parts:
        made.join(part.state())
    return made


@given(HEARD, st.randoms(use_true_random=False))
def test_joining_comes_to_the_same_in_any_order_and_however_often(
    heard: list[tuple[int, tuple[object, object]]], shuffle: random.Random
) -> None:
    replicas = hear(heard)
    shuffled = [*replicas, *shuffle.choices(replicas, k=3)]
    shuffle.shuffle(shuffled)

    assert joined(shuffled).state() == joined(replicas).state()


@given(HEARD)
def test_joined_labels_are_the_newest_of_all_that_were_ever_given_each_lookup_once(
    heard: list[tuple[int, tuple[object, object]]],
) -> None:
    latest: dict[str, Label] = {}
    for _, (lookup, label) in heard:
        if isinstance(label, Label):
            latest[str(lookup)] = max(label, latest.get(str(lookup), label))
    newest = sorted(latest.items(), key=lambda of: (of[1], of[0]))[-LABELS_MAX:]

    assert joined(hear(heard)).labels == [label for _, label in newest]


@given(HEARD)
def test_every_request_counts_once(heard: list[tuple[int, tuple[object, object]]]) -> None:
    requests = sum(not isinstance(second, Label) for _, (_, second) in heard)
    replicas = hear(heard)

    for one in replicas:
        for other in replicas:
            one.join(other.state())

    assert len(replicas[0].scores) == min(REQUESTS_MAX, requests)


@given(HEARD, st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=12))
def test_replicas_that_write_over_each_other_end_up_with_the_same(
    heard: list[tuple[int, tuple[object, object]]], turns: list[tuple[int, bool]]
) -> None:
    replicas, note = hear(heard), evidence().state()
    for number, is_lost in [*turns, *[(number % 3, False) for number in range(6)]]:
        replicas[number].join(note)
        note = note if is_lost else replicas[number].state()

    assert [each.state() for each in replicas] == [note] * 3


def test_a_state_is_json() -> None:
    first = evidence()
    first.note(None, 1.0)
    first.note(2.5, 1.0)
    first.learn("a", Label(1.0, 2.5, True, 0.9))

    assert joined([first]).state() == json.loads(json.dumps(first.state())) == first.state()


def test_news_are_counted_once() -> None:
    first, second = evidence(1), evidence(2)
    first.note(1.0, 1.0)
    first.learn("a", Label(1.0, 2.5, True))

    assert [second.join(first.state()), second.join(first.state())] == [(1, 1), (0, 0)]


@pytest.mark.parametrize("state", [{}, {"labels": 1, "requests": []}, {"labels": [["a"]], "requests": []}])
def test_what_is_no_state_changes_nothing(state: dict[str, object]) -> None:
    known = evidence()
    known.note(1.0, 1.0)
    before = known.state()

    with pytest.raises(ValueError, match=r"not what|not enough"):
        known.join(state)

    assert known.state() == before


def test_a_request_that_comes_after_newer_ones_of_others_stands_before_them() -> None:
    ahead, behind = Evidence(10, 10, origin=1), Evidence(10, 10, origin=2)
    ahead.note(1.0, 100.0)
    behind.join(ahead.state())
    behind.note(2.0, 50.0)

    assert behind.scores.tolist() == [2.0, 1.0]
