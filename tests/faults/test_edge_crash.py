"""Killing what keeps the entries, at any moment, with the real engine: at most the write under way is lost.

One file: all of it is about one shard and the processes that have it, and stands on the same few steps.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from semcache.errors import StoreError, StoreRefused, StoreTimeout, StoreUnavailable
from semcache.invalidation import Moment, Noted
from semcache.settings import EdgeSettings
from semcache.store import Question, Selector
from semcache.stores.edge.root import EdgeStores
from semcache.stores.edge.store import EdgeStore
from tests.fakes.entries import MODEL, NOW, SCOPE, angle, entry, row

ROOT = Path(__file__).parents[2]
ROUNDS = 3


@asynccontextmanager
async def opened(folder: Path, **settings: object) -> AsyncIterator[EdgeStore]:
    stores = EdgeStores(EdgeSettings(folder=str(folder), **settings))  # type: ignore[arg-type] # names of its fields
    await stores.start()
    try:
        yield await stores.open(MODEL)
    finally:
        await stores.stop()


async def numbers(store: EdgeStore) -> set[int]:
    page = await store.scan(Selector(), 100_000)
    return {int(each.entry.prompt[1:]) for each in page.entries}


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(50):
        while not is_so():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.002)


async def until_answered(store: EdgeStore) -> None:
    async with asyncio.timeout(50):
        while True:
            with suppress(StoreTimeout, StoreUnavailable):
                await store.count(Selector())
                return
            await asyncio.sleep(0.01)


@contextmanager
def standing(store: EdgeStore) -> Iterator[None]:
    """Have its engine stand still, and nobody wait long for it; before and after there is time."""
    patient = store.shard._settings
    store.shard._settings = patient.model_copy(update={"timeout": 0.05})
    os.kill(store.shard.pid, signal.SIGSTOP)
    yield
    os.kill(store.shard.pid, signal.SIGCONT)
    store.shard._settings = patient


def write_until_killed(folder: Path, first: int, writes: int, victim: str) -> int:
    """Return the last number that was acknowledged before the kill was sent, or -1."""
    command = [sys.executable, "-m", "tests.fakes.edge_writer", str(folder), str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as writer:
        assert writer.stdout is not None
        engine, acknowledged = int(writer.stdout.readline()), -1
        for _ in range(writes):
            acknowledged = int(writer.stdout.readline())
        for pid in {"service": [writer.pid], "engine": [engine], "both": [engine, writer.pid]}[victim]:
            os.kill(pid, signal.SIGKILL)
        return max([acknowledged, *map(int, writer.stdout.read().split())])


@pytest.mark.parametrize("victim", ["service", "engine", "both"])
async def test_a_kill_loses_at_most_the_write_under_way(tmp_path: Path, victim: str) -> None:
    last = -1
    for attempt in range(ROUNDS):
        acknowledged = write_until_killed(tmp_path / "s", last + 1, 3 + 17 * attempt, victim)
        async with opened(tmp_path / "s") as store:
            kept = await numbers(store)
            await until(lambda: not store.shard.may_have(entry("new").id))
            found = await store.get([entry(f"p{number}").id for number in kept], NOW)

        assert set(range(acknowledged + 1)) <= kept <= set(range(acknowledged + 2))
        assert None not in found
        last = max(kept)


async def test_the_log_alone_has_what_was_written_since_the_shard_was_flushed(tmp_path: Path) -> None:
    name = Path("models") / MODEL.slug / "1"
    async with opened(tmp_path / "s") as store:
        await store.add([row(f"p{number}") for number in range(20)])
        await store.shard.call("flush")
        shutil.copytree(tmp_path / "s", tmp_path / "cut")
        await store.add([row(f"p{number}") for number in range(20, 40)])
        await store.remove(Selector(ids=(entry("p7").id,)), 1)
        await store.shard.keep_once()
        # What a power cut leaves at least.
        shutil.rmtree(tmp_path / "cut" / name / "wal")
        shutil.copytree(tmp_path / "s" / name / "wal", tmp_path / "cut" / name / "wal")

    async with opened(tmp_path / "cut") as store:
        assert await numbers(store) == set(range(40)) - {7}


# Popen in async tests: what is waited for is bounded, and nothing else runs in this loop.
async def test_a_kill_while_a_store_is_first_made_leaves_one_that_opens(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fakes.edge_writer", str(tmp_path / "s"), "0"]
    for _ in range(ROUNDS):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writer:  # noqa: ASYNC220
            await until((tmp_path / "s" / "models" / MODEL.slug / "1.new").exists)
            writer.kill()

    async with opened(tmp_path / "s") as store:
        assert await store.count(Selector()) >= 0


async def test_an_engine_that_dies_fails_calls_at_once_and_comes_back(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as store:
        await store.add([row("p1")])
        os.kill(store.shard.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(store.get([entry("p1").id], NOW))
        await asyncio.sleep(0.01)
        os.kill(store.shard.pid, signal.SIGKILL)

        with pytest.raises(StoreUnavailable):
            await waiting
        assert not store.is_healthy

        await until_answered(store)
        assert await numbers(store) == {1}
        assert store.is_healthy


async def test_an_engine_that_hangs_costs_a_call_its_timeout_and_no_more(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as store:
        await store.add([row("p1")])
        with standing(store), pytest.raises(StoreTimeout):
            await store.get([entry("p1").id], NOW)

        await until_answered(store)
        assert await numbers(store) == {1}


async def test_calls_beyond_the_bound_fail_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "s", calls_max=2, known_bytes_max=0) as store:
        os.kill(store.shard.pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(store.count(Selector())) for _ in range(2)]
        await asyncio.sleep(0)

        with pytest.raises(StoreUnavailable, match="2 calls wait"):
            await store.count(Selector())

        os.kill(store.shard.pid, signal.SIGCONT)
        assert await asyncio.gather(*waiting) == [0, 0]


async def test_what_the_engine_refuses_fails_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as store:
        with pytest.raises(StoreRefused, match="get"):
            await store.shard.call("get", ["no uuid"])

        assert await store.count(Selector()) == 0


async def test_one_service_at_a_time_has_a_folder(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as store:
        with pytest.raises(StoreUnavailable, match="another process"):
            await EdgeStores(EdgeSettings(folder=str(tmp_path / "s"))).start()

        assert await store.count(Selector()) == 0


async def test_files_are_the_owners_only(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as store:
        await store.add([row("p1")])
        await store.shard.build_index()

        modes = {path.stat().st_mode & 0o077 for path in [tmp_path / "s", *(tmp_path / "s").rglob("*")]}

    assert modes == {0}


def files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


async def test_what_was_removed_is_in_no_file_after_compacting(tmp_path: Path) -> None:
    secret = "xq7 zkw 93vj"
    async with opened(tmp_path / "s") as store:
        await store.add([row(secret), row("kept prompt")])
        await store.shard.call("flush")
        assert files_with(tmp_path, secret.encode())
        await store.remove(Selector(ids=(entry(secret).id,)), 1)

        await store.compact()

        assert files_with(tmp_path, secret.encode()) == []
        assert files_with(tmp_path, b"kept prompt")


async def test_what_is_removed_while_files_are_written_anew_has_them_written_once_more(tmp_path: Path) -> None:
    secret = "xq7 zkw 93vj"
    async with opened(tmp_path / "s", copy_page_entries=1) as store:
        await store.add([row(secret), *(row(f"p{number}") for number in range(300))])
        building = asyncio.create_task(store.shard.build_index())
        await until(lambda: list(builders(tmp_path)))
        await store.remove(Selector(ids=(entry(secret).id,)), 1)

        erased = await asyncio.gather(*(store.compact() for _ in range(5)))
        await building

        assert erased == [True] * 5
        assert files_with(tmp_path, secret.encode()) == []
        assert await numbers(store) == set(range(300))
        # One for all five.
        assert store.shard._generation <= 3


async def test_a_kill_forgets_nothing_that_is_to_be_forgotten(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as store:
        await store.add([row("p1"), row("p2")])
        await store.remove(Selector(ids=(entry("p1").id,)), 1)
        before = await store.removed_at()
        os.kill(store.shard.pid, signal.SIGKILL)

    async with opened(tmp_path / "s") as store:
        assert (before is not None, await store.removed_at()) == (True, before)


async def test_text_that_could_not_be_erased_is_told_to_who_waits_and_to_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path / "s") as store:
        await store.add([row("p1")])
        await store.remove(Selector(ids=(entry("p1").id,)), 1)
        store.shard._restart = lambda: None  # type: ignore[method-assign]
        os.kill(store.shard.pid, signal.SIGKILL)
        await until(lambda: not store.is_healthy)

        with pytest.raises(StoreUnavailable):
            await store.compact()

    assert "still in files" in caplog.text


async def test_an_index_is_built_while_entries_come_change_and_go(tmp_path: Path) -> None:
    async with opened(tmp_path / "s", copy_page_entries=16) as store:
        await store.add([row(f"p{number}", number % 90) for number in range(3000)])
        building = asyncio.create_task(store.shard.build_index())
        expected, fresh, lookups = set(range(3000)), 3000, 0
        while not building.done():
            await store.add([row(f"p{fresh}", fresh % 90)])
            await store.remove(Selector(ids=(entry(f"p{fresh - 2990}").id,)), 1)
            (found,) = await store.nearest([Question(SCOPE, 0, angle(fresh % 90), limit=1)], NOW)
            assert found
            expected = (expected | {fresh}) - {fresh - 2990}
            fresh, lookups = fresh + 1, lookups + 1
        await building

        assert await numbers(store) == expected
        assert None not in await store.get([entry(f"p{number}").id for number in expected], NOW)
        assert lookups > 10
        assert [path.name for path in (tmp_path / "s" / "models" / MODEL.slug).glob("[0-9]*")] == ["2"]

    async with opened(tmp_path / "s") as store:
        assert await numbers(store) == expected


async def test_enough_new_entries_have_an_index_built_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "s", unindexed_max=10) as store:
        await store.add([row(f"p{number}") for number in range(10)])
        await store.shard.keep_once()
        few = store.shard.pid
        await store.add([row("p10")])
        await store.shard.keep_once()
        built = store.shard.pid
        await store.shard.keep_once()

        assert (few != built, store.shard.pid == built) == (True, True)
        assert await numbers(store) == set(range(11))


async def test_upkeep_goes_on_by_itself(tmp_path: Path) -> None:
    async with opened(tmp_path / "s", unindexed_max=1, flush_interval=0.01) as store:
        before = store.shard.pid
        await store.add([row("p0"), row("p1")])

        await until(lambda: store.shard.pid != before)

        assert await numbers(store) == {0, 1}


async def test_upkeep_that_fails_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(tmp_path / "s", flush_interval=0.01) as store:
        os.kill(store.shard.pid, signal.SIGKILL)

        await until(lambda: "upkeep" in caplog.text and store.is_healthy)

        assert await numbers(store) == set()


def builders(folder: Path) -> Iterator[int]:
    """Process ids of engines on any generation but the first."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (path / "cmdline").read_bytes().decode().split("\0")
            if any(word.startswith(str(folder)) and not word.endswith("/1") for word in words):
                yield int(path.name)


async def test_a_builder_that_is_killed_leaves_all_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path / "s", copy_page_entries=1) as store:
        await store.add([row(f"p{number}") for number in range(500)])
        serving = store.shard.pid
        building = asyncio.create_task(store.shard.build_index())
        await until(lambda: list(builders(tmp_path)))
        os.kill(next(builders(tmp_path)), signal.SIGKILL)

        with pytest.raises(StoreUnavailable):
            await building

        assert store.shard.pid == serving
        assert await numbers(store) == set(range(500))
        assert [path.name for path in (tmp_path / "s" / "models" / MODEL.slug).glob("[0-9]*")] == ["1"]


async def test_a_builder_that_is_killed_while_it_makes_its_shard_leaves_nothing_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "s", copy_page_entries=1) as store:
        await store.add([row(f"p{number}") for number in range(100)])
        folder = tmp_path / "s" / "models" / MODEL.slug
        building = asyncio.create_task(store.shard.build_index())
        await until(lambda: (folder / "2.new").exists() or (folder / "2").exists())
        os.kill(next(builders(tmp_path)), signal.SIGKILL)

        with pytest.raises(StoreUnavailable):
            await building

        assert [path.name for path in folder.glob("[0-9]*")] == ["1"]


async def test_stopping_in_the_middle_of_a_build_leaves_no_process(tmp_path: Path) -> None:
    async with opened(tmp_path / "s", copy_page_entries=1, unindexed_max=1, flush_interval=0.01) as store:
        await store.add([row(f"p{number}") for number in range(500)])
        await until(lambda: list(builders(tmp_path)))

    assert list(builders(tmp_path)) == []
    async with opened(tmp_path / "s") as store:
        assert await numbers(store) == set(range(500))


async def test_a_removal_in_doubt_gives_a_build_up(tmp_path: Path) -> None:
    async with opened(tmp_path / "s", copy_page_entries=1) as store:
        await store.add([row(f"p{number}") for number in range(300)])
        building = asyncio.create_task(store.shard.build_index())
        await until(lambda: list(builders(tmp_path)))
        with standing(store), pytest.raises(StoreTimeout):
            await store.remove(Selector(ids=(entry("p7").id,)), 1)

        with pytest.raises(StoreError):
            await building

        await until_answered(store)
        assert await numbers(store) == set(range(300)) - {7}


async def test_what_a_crash_left_beside_is_removed(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as store:
        await store.add([row("p1")])
    left = tmp_path / "s" / "models" / MODEL.slug / "2"
    left.mkdir()

    async with opened(tmp_path / "s") as store:
        assert await numbers(store) == {1}

    assert not left.exists()


@pytest.mark.parametrize("text", ["", "two", None])
async def test_a_pointer_that_names_nothing_stops_the_start_and_removes_nothing(
    tmp_path: Path, text: str | None
) -> None:
    async with opened(tmp_path / "s") as store:
        await store.shard.build_index()
    folder = tmp_path / "s" / "models" / MODEL.slug
    if text is None:
        (folder / "current").unlink()
    else:
        (folder / "current").write_text(text)

    with pytest.raises(StoreUnavailable, match="current"):
        async with opened(tmp_path / "s"):
            pass

    assert (folder / "2").exists()


@pytest.mark.parametrize("name", ["aliases.json", "epochs.json"])
async def test_a_damaged_file_of_the_root_stops_the_start(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{")

    with pytest.raises(StoreUnavailable, match="cannot be used"):
        await EdgeStores(EdgeSettings(folder=str(tmp_path))).start()


async def test_a_damaged_store_does_not_open(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as store:
        await store.add([row("p1")])
    (tmp_path / "s" / "models" / MODEL.slug / "1" / "edge_config.json").write_text("{")

    with pytest.raises(StoreUnavailable):
        async with opened(tmp_path / "s"):
            pass


async def test_a_store_that_does_not_open_in_time_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="was not opened within"):
        async with opened(tmp_path / "s", start_timeout=0.001):
            pass


async def test_epochs_and_aliases_outlive_the_service(tmp_path: Path) -> None:
    first = EdgeStores(EdgeSettings(folder=str(tmp_path)))
    await first.start()
    await first.open(MODEL)
    await first.serve("support", MODEL.slug)
    epoch = await first.advance_epoch("support", NOW)
    mark = await first.invalidate("support", ["a subject"], NOW)
    await first.stop()
    second = EdgeStores(EdgeSettings(folder=str(tmp_path)))
    await second.start()

    assert await second.moments(["support"]) == [Moment(epoch, mark)]
    assert await second.invalidations("support", 0) == [Noted(mark, "a subject")]
    assert await second.aliases() == {"support": MODEL.slug}
    await second.stop()


async def test_without_room_a_store_that_refuses_writes_is_left_to_answer_lookups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semcache.stores.edge.shard._ROOM_BYTES", 1 << 62)
    async with opened(tmp_path / "s") as store:
        await store.add([row("p1")])
        before, store.shard._is_stuck = store.shard.pid, True

        with pytest.raises(StoreUnavailable, match="until there is room"):
            await store.shard.keep_once()

        assert store.shard.pid == before
        assert await numbers(store) == {1}


async def test_a_store_whose_folder_cannot_be_made_is_named(tmp_path: Path) -> None:
    stores = EdgeStores(EdgeSettings(folder=str(tmp_path)))
    await stores.start()
    (tmp_path / "models" / MODEL.slug).write_text("no folder")

    with pytest.raises(StoreUnavailable, match=rf"the store of {MODEL.slug} cannot be opened: .*File exists"):
        await stores.open(MODEL)
    await stores.stop()


async def test_what_cannot_be_written_to_the_root_has_not_happened(tmp_path: Path) -> None:
    stores = EdgeStores(EdgeSettings(folder=str(tmp_path)))
    await stores.start()
    (tmp_path / "epochs.json").mkdir()
    (tmp_path / "notes").write_text("no folder")

    with pytest.raises(StoreUnavailable, match=r"epochs.json cannot be written: Is a directory"):
        await stores.advance_epoch("support", NOW)
    with pytest.raises(StoreUnavailable, match=r"notes/topic cannot be written: Not a directory"):
        await stores.note("topic", "name", "text")
    assert await stores.moments(["support"]) == [Moment(0, 0)]
    await stores.stop()


async def test_an_engine_that_does_not_open_again_is_tried_some_times_and_once_more_with_the_next_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semcache.stores.edge.shard._RESTART_SECONDS", (0.01, 0.01))
    async with opened(tmp_path / "s") as store:
        await store.add([row("p1")])
        config = tmp_path / "s" / "models" / MODEL.slug / "1" / "edge_config.json"
        right = config.read_text()
        config.write_text("{")
        os.kill(store.shard.pid, signal.SIGKILL)
        await until(lambda: not store.is_healthy)
        with pytest.raises(StoreUnavailable):
            await store.count(Selector())
        given_up = store.shard._restarting
        assert given_up is not None
        await given_up
        config.write_text(right)

        assert "attempt 2 to start the store's process again" in caplog.text
        await until_answered(store)
        assert await numbers(store) == {1}


async def test_upkeep_begins_no_index_while_one_is_built(tmp_path: Path) -> None:
    async with opened(tmp_path / "s", unindexed_max=1) as store:
        await store.add([row("p1"), row("p2")])
        before = store.shard.pid
        async with store.shard._builds:
            await store.shard.keep_once()

        assert store.shard.pid == before


async def test_where_nothing_was_removed_no_file_is_written_anew(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as store:
        await store.add([row("p1")])
        before = store.shard.pid

        await store.compact()

        assert store.shard.pid == before


async def test_an_old_folder_that_cannot_be_removed_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "s" / "models" / MODEL.slug
    async with opened(tmp_path / "s") as store:
        await store.add([row("p1")])
        # On another disk, say; the link itself is not followed when it is removed.
        (folder / "1").rename(tmp_path / "elsewhere")
        (folder / "1").symlink_to(tmp_path / "elsewhere")

        with pytest.raises(StoreUnavailable, match=r"/1 could not be removed: .*symbolic link"):
            await store.shard.build_index()

        assert await numbers(store) == {1}
