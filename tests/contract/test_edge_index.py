"""What of a store is in its index, with the real engine: entries that are used stay, entries that are written again leave it."""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from semcache.entry import Record, State
from semcache.errors import StoreUnavailable
from semcache.store import Question, Selector
from semcache.stores.edge.engine import width
from semcache.stores.edge.log import force_log
from semcache.stores.edge.store import EdgeStore
from tests.fakes.entries import NOW, SCOPE, entry
from tests.fakes.wide_store import COUNT, ids, opened, rows

NEW = entry("new").id


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EdgeStore]:
    async with opened(tmp_path / "s") as store:
        await store.add(rows(COUNT))
        await store.shard.keep_once()
        assert await store.shard.call("sizes") == (COUNT, COUNT)
        yield store


@pytest.fixture
def verbs(store: EdgeStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the engine is told to do from now on, and when its log is forced to the disk."""
    told: list[str] = []
    call = store.shard.call

    async def noting(verb: str, *arguments: object) -> object:
        told.append(verb)
        return await call(verb, *arguments)

    def noting_log(folder: Path) -> None:
        told.append("force log")
        force_log(folder)

    monkeypatch.setattr(store.shard, "call", noting)
    monkeypatch.setattr("semcache.stores.edge.shard.force_log", noting_log)
    return told


def resident_share(path: Path, size: int) -> float:
    """Return how much of the first so many bytes of a file is in the page cache."""
    pages = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        assert ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), pages) == 0
    return sum(page & 1 for page in pages.raw) / len(pages)


async def until_known(store: EdgeStore) -> None:
    async with asyncio.timeout(50):
        while store.shard.may_have(NEW):  # noqa: ASYNC110 - read by upkeep
            await asyncio.sleep(0.01)


async def unindexed(store: EdgeStore) -> int:
    await store.shard.call("flush")
    points, indexed = await store.shard.call("sizes")
    return int(points - indexed)


async def test_an_entry_that_is_used_stays_in_the_index(store: EdgeStore) -> None:
    await store.amend({one: Record(hits=1, used_at=NOW) for one in ids(5)})

    assert await unindexed(store) == 0
    assert [each.record.hits for each in await store.get(ids(5), NOW) if each is not None] == [1] * 5


@pytest.mark.parametrize(
    ("record", "times"),
    [(Record(hits=1, used_at=NOW), 0), (Record(State.QUARANTINED, wrong=1, used_at=NOW), 1)],
    ids=["a use", "a judgement"],
)
async def test_only_what_is_written_to_the_shard_is_forced_to_the_disk(
    store: EdgeStore, verbs: list[str], record: Record, times: int
) -> None:
    await store.amend({ids(1)[0]: record})

    await store.shard.keep_once()

    assert verbs.count("force log") == times


async def test_the_shard_is_flushed_where_it_may_be_time_for_the_next_index(store: EdgeStore, verbs: list[str]) -> None:
    judged = Record(State.QUARANTINED, wrong=1, used_at=NOW)
    await store.amend(dict.fromkeys(ids(10), judged))
    await store.shard.keep_once()
    before = verbs.count("flush")
    await store.amend(dict.fromkeys(ids(11)[10:], judged))

    await store.shard.keep_once()

    assert (before, verbs.count("flush")) == (0, 1)


async def test_a_log_that_could_not_be_forced_is_forced_the_next_time(
    store: EdgeStore, verbs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(folder: Path) -> None:
        raise OSError(folder)

    await store.add(rows(1))
    with monkeypatch.context() as patch:
        patch.setattr("semcache.stores.edge.shard.force_log", failing)
        with pytest.raises(OSError, match="1"):
            await store.shard.keep_once()

    await store.shard.keep_once()

    assert verbs.count("force log") == 1


async def test_what_was_copied_last_is_forced_to_the_disk_before_the_next_generation_serves(
    store: EdgeStore, verbs: list[str]
) -> None:
    await store.shard.build_index()

    assert verbs.count("force log") == 1


async def test_a_sweep_that_finds_nothing_has_nothing_forced_to_the_disk(store: EdgeStore, verbs: list[str]) -> None:
    await store.remove(Selector(expired_at=0.0), 10)
    await store.shard.keep_once()
    await store.remove(Selector(ids=(*ids(1),)), 10)
    await store.shard.keep_once()

    assert [verb for verb in verbs if verb != "sizes"] == ["remove", "remove", "force log"]


async def test_the_engine_is_asked_only_for_what_it_may_have(store: EdgeStore, verbs: list[str]) -> None:
    await until_known(store)
    verbs.clear()

    none = await store.get([NEW], NOW)
    some = await store.get([NEW, *ids(1)], NOW)

    assert (none, some, verbs) == ([None], [None, rows(1)[0].entry], ["get"])


async def test_a_use_of_what_has_gone_makes_nothing_known(store: EdgeStore) -> None:
    await until_known(store)

    await store.amend({NEW: Record(hits=1, used_at=NOW)})

    assert not store.shard.may_have(NEW)


async def test_what_is_stored_again_after_it_went_is_found(store: EdgeStore) -> None:
    await until_known(store)
    await store.remove(Selector(ids=(*ids(1),)), 1)
    assert await store.get(ids(1), NOW) == [None]

    await store.add(rows(1))

    assert await store.get(ids(1), NOW) == [rows(1)[0].entry]


async def test_the_next_generation_has_what_is_known(store: EdgeStore) -> None:
    await until_known(store)
    building = asyncio.create_task(store.compact())
    await store.add([replace(each, entry=entry(f"meanwhile {n}")) for n, each in enumerate(rows(20))])

    await building

    assert None not in await store.get([*ids(COUNT), *(entry(f"meanwhile {n}").id for n in range(20))], NOW)


async def test_a_store_that_is_opened_again_rules_out_nothing_that_it_has(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as store:
        await store.add(rows(20))
        os.kill(store.shard.pid, signal.SIGKILL)

    async with opened(tmp_path / "s") as store:
        at_once = await store.get(ids(20), NOW)
        await until_known(store)
        assert [*at_once, *await store.get(ids(20), NOW)] == [each.entry for each in rows(20)] * 2


async def test_what_is_known_is_read_anew_of_an_engine_that_is_started_again(store: EdgeStore) -> None:
    await until_known(store)
    os.kill(store.shard.pid, signal.SIGKILL)
    async with asyncio.timeout(50):
        while not store.shard.may_have(NEW):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.01)
        with pytest.raises(StoreUnavailable):
            await store.get([NEW], NOW)
        while not store.is_healthy:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)

    assert store.shard.may_have(NEW)
    await store.shard.keep_once()
    assert not store.shard.may_have(NEW)
    assert await store.get(ids(1), NOW) == [rows(1)[0].entry]


async def test_entries_of_a_namespace_are_counted_right_whatever_became_of_them(store: EdgeStore) -> None:
    await store.add(rows(50))
    await store.add([replace(each, entry=replace(each.entry, namespace="sales")) for each in rows(20)])
    await store.remove(Selector(ids=(*ids(60)[10:],)), 100)
    await store.amend({one: Record(State.QUARANTINED, wrong=1, used_at=NOW) for one in ids(70)[65:]})

    counts = [await store.count(Selector(namespace=each)) for each in ("support", "sales", "nobody")]

    assert counts == [COUNT - 60, 10, 0]


async def test_an_entry_that_is_written_again_counts_as_not_indexed(store: EdgeStore) -> None:
    await store.add(rows(7))

    assert await unindexed(store) == 7


async def test_enough_entries_that_were_replaced_have_an_index_built(store: EdgeStore) -> None:
    await store.remove(Selector(ids=(*ids(100),)), 100)
    await store.add(rows(100))

    await store.shard.keep_once()

    assert await unindexed(store) == 0


async def test_a_record_is_with_its_entry_wherever_that_is_read(store: EdgeStore) -> None:
    record = Record(hits=3, right=1, used_at=NOW + 5)
    await store.amend({ids(1)[0]: record})

    (first, *_), *_ = await store.nearest([Question(SCOPE, 0, rows(1)[0].embedding, whole_from=0.9)], NOW)
    (read,) = await store.get(ids(1), NOW)
    (scanned,) = (await store.scan(Selector(ids=(ids(1)[0],)), 1)).entries
    assert [each.record for each in (first.entry, read, scanned.entry) if each is not None] == [record] * 3


async def test_the_nearest_brings_its_entry_where_it_is_near_enough(store: EdgeStore) -> None:
    questions = [
        Question(SCOPE, 0, each.embedding, whole_from=least)
        for each, least in zip(rows(3), (2.0, 0.9, 0.9), strict=True)
    ]

    found = await store.nearest(questions, NOW)

    assert [first.entry for first, *_ in found] == [None, *await store.get(ids(3)[1:], NOW)]


async def test_entries_of_the_next_index_are_in_memory_before_they_are_asked_for(store: EdgeStore) -> None:
    folder = store.shard._engine.folder.parent
    await store.compact()

    written = {path: path.stat().st_blocks * 512 for path in folder.glob("2/segments/*/payload_storage/page_0.dat")}
    async with asyncio.timeout(50):
        while min(resident_share(*each) for each in written.items() if each[1]) < 1:  # noqa: ASYNC110 - a thread of the engine reads
            await asyncio.sleep(0.01)


async def test_the_next_index_has_the_records(store: EdgeStore) -> None:
    await store.amend({ids(1)[0]: Record(hits=3, used_at=NOW)})

    await store.compact()

    (read,) = await store.get(ids(1), NOW)
    assert read is not None
    assert read.record.hits == 3


async def test_an_entry_that_is_replaced_begins_a_new_record(store: EdgeStore) -> None:
    await store.amend({ids(1)[0]: Record(hits=3, used_at=NOW)})

    await store.add(rows(1))

    (read,) = await store.get(ids(1), NOW)
    assert read is not None
    assert read.record == Record()


async def test_a_quarantine_outweighs_uses_that_were_noted(store: EdgeStore) -> None:
    await store.amend({ids(1)[0]: Record(hits=3, used_at=NOW)})
    judged = Record(State.QUARANTINED, hits=3, wrong=1, used_at=NOW)

    await store.amend({ids(1)[0]: judged})

    (scanned,) = (await store.scan(Selector(ids=(ids(1)[0],)), 1)).entries
    assert scanned.entry.record == judged
    assert await store.get(ids(1), NOW) == [None]


async def test_eviction_spares_what_was_used_and_takes_as_many_as_asked_for(store: EdgeStore) -> None:
    dated = [replace(each, entry=replace(each.entry, record=Record(used_at=NOW + n))) for n, each in enumerate(rows(9))]
    await store.add(dated)
    await store.remove(Selector(ids=(*ids(COUNT)[9:],)), COUNT)
    await store.amend({one: Record(hits=1, used_at=NOW + 100) for one in ids(3)})

    assert await store.evict("support", 4) == 4

    left = (await store.scan(Selector(), COUNT)).entries
    assert {each.entry.prompt for each in left} == {"p0", "p1", "p2", "p7", "p8"}


@pytest.mark.parametrize(
    ("entries", "looked_at"),
    [(0, 96), (192_000, 96), (256_000, 128), (300_000, 150), (1_000_000, 500), (10_000_000, 512)],
)
def test_a_search_looks_at_more_of_a_larger_graph(entries: int, looked_at: int) -> None:
    assert width(entries) == looked_at
