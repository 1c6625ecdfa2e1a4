"""What is known of a store's ids errs to one side only."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from semcache.entry import EntryId
from semcache.stores.edge.known import Bloom, Known, ReadPage
from tests.fakes.entries import entry

ROOM = 1 << 20


def ids(first: int, last: int) -> list[EntryId]:
    return [entry(f"p{number}").id for number in range(first, last)]


def pages(*parts: Sequence[EntryId]) -> ReadPage:
    async def read(start: EntryId | None) -> tuple[Sequence[EntryId], EntryId | None]:
        number = int(start or 0)
        return parts[number], EntryId(str(number + 1)) if number + 1 < len(parts) else None

    return read


async def learned(*parts: Sequence[EntryId]) -> Known:
    known = Known(ROOM)
    await known.read(sum(map(len, parts)), pages(*parts))
    return known


@pytest.mark.parametrize("bytes_max", [1, 1_000, ROOM])
def test_a_filter_forgets_nothing_that_it_was_given_however_small_it_is(bytes_max: int) -> None:
    bloom = Bloom(5_000, bytes_max)
    for one in ids(0, 5_000):
        bloom.add(one)

    assert all(one in bloom for one in ids(0, 5_000))
    assert len(bloom) <= bytes_max


def test_a_filter_with_room_for_twice_as_many_is_hardly_ever_wrong_about_others() -> None:
    bloom = Bloom(2_048, ROOM)
    for one in ids(0, 4_096):
        bloom.add(one)

    assert sum(one in bloom for one in ids(5_000, 15_000)) < 100


async def test_nothing_is_ruled_out_before_all_was_read() -> None:
    known = Known(ROOM)

    assert known.may_have(ids(0, 1)[0])
    assert known.is_due


async def test_what_was_neither_read_nor_told_of_is_ruled_out() -> None:
    known = await learned(ids(0, 10), ids(10, 20))

    known.tell(ids(20, 30))

    assert all(known.may_have(one) for one in ids(0, 30))
    assert not any(known.may_have(one) for one in ids(30, 40))
    assert not known.is_due


async def test_what_is_told_of_while_ids_are_read_is_known_at_once_and_afterwards() -> None:
    known = await learned(ids(0, 10))
    seen: list[bool] = []

    async def read(start: EntryId | None) -> tuple[Sequence[EntryId], EntryId | None]:
        assert start is None
        known.tell(ids(10, 20))
        seen.extend(map(known.may_have, ids(0, 20)))
        return ids(0, 10), None

    await known.read(10, read)

    assert seen == [True] * 20
    assert all(known.may_have(one) for one in ids(0, 20))


async def test_what_was_forgotten_meanwhile_is_not_known_by_a_reading_that_was_begun_before() -> None:
    known = await learned(ids(0, 10))

    async def read(start: EntryId | None) -> tuple[Sequence[EntryId], EntryId | None]:
        assert start is None
        known.forget()
        return ids(0, 10), None

    await known.read(10, read)

    assert known.may_have(ids(20, 21)[0])
    assert known.is_due


async def test_a_reading_that_fails_leaves_what_was_known() -> None:
    known = await learned(ids(0, 10))

    async def read(start: EntryId | None) -> tuple[Sequence[EntryId], EntryId | None]:
        raise OSError(start)

    with pytest.raises(OSError, match="None"):
        await known.read(10, read)
    known.tell(ids(10, 20))

    assert all(known.may_have(one) for one in ids(0, 20))
    assert not known.may_have(ids(20, 21)[0])


async def test_ids_are_read_again_when_as_many_were_told_of_as_were_read() -> None:
    known = Known(ROOM)
    many = ids(0, 20_000)
    await known.read(len(many), pages(many))

    known.tell(many)
    was_due = known.is_due
    known.tell(many[:1])

    assert (was_due, known.is_due) == (False, True)


async def test_nothing_is_due_while_ids_are_read() -> None:
    known = Known(ROOM)
    due: list[bool] = []

    async def read(start: EntryId | None) -> tuple[Sequence[EntryId], EntryId | None]:
        assert start is None
        due.append(known.is_due)
        return [], None

    await known.read(0, read)

    assert [*due, known.is_due] == [False, False]


async def test_without_memory_for_it_nothing_is_read_and_nothing_ruled_out() -> None:
    known = Known(0)

    assert not known.is_due
    assert known.may_have(ids(0, 1)[0])
