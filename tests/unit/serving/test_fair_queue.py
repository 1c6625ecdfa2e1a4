from __future__ import annotations

import pytest

from serving.fair_queue import FairQueue


def _filled(items_max: int, *items: str) -> FairQueue[str]:
    """Each item is put by the producer that its first letter names."""
    queue: FairQueue[str] = FairQueue(items_max)
    for item in items:
        queue.put(item[0], item)
    return queue


def _drained(queue: FairQueue[str]) -> list[str]:
    return [queue.take() for _ in range(len(queue))]


def test_producers_take_turns() -> None:
    queue = _filled(10, "a1", "a2", "a3", "b1", "c1", "c2")

    assert _drained(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_an_empty_queue_has_nothing_to_take() -> None:
    with pytest.raises(KeyError):
        _filled(10).take()


def test_a_newcomer_displaces_the_newest_of_who_waits_with_most() -> None:
    queue = _filled(3, "a1", "a2", "a3")

    assert queue.put("b", "b1") == "a3"
    assert _drained(queue) == ["a1", "b1", "a2"]


def test_who_waits_with_most_is_turned_away_itself() -> None:
    queue = _filled(3, "a1", "a2", "b1")

    assert queue.put("a", "a3") == "a3"
    assert len(queue) == 3


def test_who_already_waits_with_as_many_as_the_longest_is_turned_away() -> None:
    queue = _filled(4, "a1", "a2", "b1", "b2")

    assert queue.put("b", "b3") == "b3"


def test_producers_with_one_item_each_are_not_displaced_by_each_other_twice() -> None:
    queue = _filled(2, "a1", "b1")

    assert queue.put("c", "c1") == "a1"
    assert queue.put("c", "c2") == "c2"


def test_a_queue_without_room_takes_nothing() -> None:
    assert _filled(0).put("a", "a1") == "a1"


def test_a_removed_item_is_not_taken() -> None:
    queue = _filled(10, "a1", "a2", "b1")
    queue.remove("a", "a1")
    queue.remove("b", "b1")

    assert _drained(queue) == ["a2"]


def test_removing_what_has_left_changes_nothing() -> None:
    queue = _filled(10, "a1", "a2")
    queue.take()
    queue.remove("a", "a1")
    queue.remove("b", "b1")

    assert _drained(queue) == ["a2"]


def test_all_may_be_taken_at_once() -> None:
    queue = _filled(10, "a1", "b1", "a2")

    assert queue.take_all() == ["a1", "a2", "b1"]
    assert len(queue) == 0
    assert queue.put("a", "a3") is None
