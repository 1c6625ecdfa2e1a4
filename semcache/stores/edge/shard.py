"""One model's shard and the engines that serve it: started again when they die, replaced when an index is built.

    lookups ──▶ serving engine  ── pages ──▶ folder n+1 ── build (own process, low priority) ──▶ next engine
    writes  ──▶      │                                                                              │
                     └── ids written meanwhile ───────────── copied again until few are left ───────┤
                                                                                                    ▼
                                                       pointer file names n+1 · n is stopped and removed

1. The pointer file (`current`) names the only folder that counts. It is replaced at once (rename), after the next
   folder has everything. Whatever else is found at start is what a crash left, and is removed.
2. Lookups are never behind a build: they wait at most for one page of the copy, and for a flush (8).
3. Writes wait while the last ids are copied and the pointer moves.
4. A removal whose answer did not come (in time, or to anybody) cannot be copied: the build is given up, or what was removed would
   come back with it.
5. If the engine dies, calls fail at once and it is started again; nothing that was acknowledged is lost.
6. Text of what was removed is in files until the next folder serves, which is begun without it. One folder is built
   at a time. Who wants text gone (`erase`) needs one that was begun after the removal, so it waits for one under way, and
   one more does for all who wait; it is built to its end also where they leave.
7. A write that failed for want of room leaves the engine refusing every write, while it answers lookups. It is started
   again by upkeep, once there is room: its log has what was not done.
8. What was written outlives a power cut once its log is forced to the disk, which is done from outside and holds nobody
   up. The shard itself is flushed where so much was written since that it may be time for the next index: then the list of
   points that are not in the index any more is written, and the log has no more to be replayed than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from semcache.entry import EntryId
from semcache.errors import StoreError, StoreRefused, StoreUnavailable
from semcache.settings import EdgeSettings
from semcache.stores.edge.known import Known
from semcache.stores.edge.log import force_log
from semcache.stores.edge.process import EngineProcess
from serving.files import replace_file

logger = logging.getLogger(__name__)

Step: TypeAlias = Callable[[], Awaitable[None]]

_POINTER = "current"
_NICE = 10
# What the engine says to every write after one that it could not bring to its end.
_STUCK = "Not recovered from previous error"
# What it takes to open a shard and to go on: two segments of the log and a page of payloads, 32 MiB each, and a margin.
_ROOM_BYTES = 256 * 1024 * 1024
# Ids copied again per call, and how few must be left before writes wait for the rest.
_CATCH_UP_ENTRIES = 64
# Ids read at a time: lookups wait for one such page, half a millisecond.
_IDS_PAGE = 256
_RESTART_SECONDS = (0.05, 0.2, 1.0, 5.0)


class Shard:
    """A folder of generations, of which one counts."""

    def __init__(self, folder: Path, dimensions: int, settings: EdgeSettings) -> None:
        self._folder = folder
        self._dimensions = dimensions
        self._settings = settings
        self._generation = 1
        self._engine = self._new_engine(1)
        self._restarting: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._forcing: asyncio.Task[None] | None = None
        self._erasing: set[asyncio.Task[None]] = set()
        self._next_erasure: asyncio.Task[None] | None = None
        self._builds = asyncio.Lock()
        self._writes = asyncio.Lock()
        self._touched: set[str] | None = None
        self._is_copy_stale = False
        self._is_dirty = False
        self._unflushed = 0
        self._is_stuck = False
        self._left_unindexed = 0
        self._known = Known(settings.known_bytes_max)

    @property
    def is_healthy(self) -> bool:
        """False while there is no engine."""
        return self._engine.is_running

    @property
    def pid(self) -> int:
        """Process id of the engine that serves."""
        return self._engine.pid

    async def start(self) -> None:
        """Open the generation that counts, and remove the others.

        Raises:
            StoreUnavailable: it cannot be opened, or the pointer is not there or says nothing.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._generation = self._read_pointer()
        self._engine = self._new_engine(self._generation)
        await self._engine.start(self._settings.start_timeout)
        for path in self._folder.glob("[0-9]*"):
            if path.name != str(self._generation):
                shutil.rmtree(path)
        replace_file(self._folder / _POINTER, str(self._generation))
        self._keeping = asyncio.create_task(self._repeat(self.keep_once, first=self._read_ids))
        # Apart from that: upkeep may be building an index for minutes.
        self._forcing = asyncio.create_task(self._repeat(self._force_log))

    def may_have(self, one: EntryId) -> bool:
        """Return False if the entry is certainly not there; while there is no engine, it has to be asked for one to come back."""
        return self._known.may_have(one) or not self._engine.is_running

    async def call(self, verb: str, *arguments: object) -> Any:  # noqa: ANN401 - as the verb
        """Have the engine do something.

        Raises:
            StoreError: as the engine's process has it.
        """
        if not self._engine.is_running:
            self._restart()
        return await self._engine.call(verb, *arguments, timeout_seconds=self._settings.timeout)

    async def write(self, ids: Collection[EntryId], verb: str, *arguments: object) -> None:
        """Have the engine change entries of these ids."""
        async with self._writing():
            if self._touched is not None:
                self._touched.update(ids)
            if verb == "add":  # nothing else makes an entry
                self._known.tell(ids)
            before = self._is_dirty, self._unflushed
            self._is_dirty, self._unflushed = True, self._unflushed + len(ids)
            if await self.call(verb, *arguments) is False:
                self._is_dirty, self._unflushed = before  # nothing of it is in the shard
            else:
                self._is_dirty = True  # again: the log may have been forced before it had this

    async def delete(self, verb: str, *arguments: object) -> int:
        """Have the engine remove entries that it finds; return how many."""
        async with self._writing():
            was_dirty, self._is_dirty = self._is_dirty, True
            try:
                ids: Sequence[str] = await self.call(verb, *arguments)
            except BaseException:  # timed out or cancelled: it may happen, and nobody will know to what
                self._is_copy_stale = True
                raise
            if self._touched is not None:
                self._touched.update(ids)
            # Most sweeps find nothing.
            self._is_dirty = was_dirty or bool(ids)
            self._unflushed += len(ids)
        return len(ids)

    async def stop(self) -> None:
        """Flush and leave."""
        tasks = [task for task in (self._keeping, self._forcing, self._restarting, *self._erasing) if task is not None]
        self._keeping = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._engine.stop()

    async def keep_once(self) -> None:
        """Force what was written to the disk, and build an index if enough is new.

        Raises:
            StoreError: something of it did not happen.
        """
        if self._is_stuck:
            await self._get_unstuck()
        await self._force_log()
        await self._read_ids()
        if not self._builds.locked():
            await self._keep_index()

    async def _force_log(self) -> None:
        if not self._is_dirty:
            return
        self._is_dirty, engine = False, self._engine
        try:
            await asyncio.to_thread(force_log, engine.folder)
        except BaseException as error:
            self._is_dirty = True
            # The next generation's log was forced before it came.
            if self._engine is engine or not isinstance(error, OSError):
                raise

    async def _read_ids(self) -> None:
        if not self._known.is_due:
            return

        async def read_page(start: EntryId | None) -> tuple[Sequence[EntryId], EntryId | None]:
            ids, following = await self.call("ids", _IDS_PAGE, start)
            return ids, following

        points, _ = await self.call("sizes")
        await self._known.read(points, read_page)

    async def _keep_index(self) -> None:
        if self._unflushed > 0 and self._is_due(*await self.call("sizes"), unflushed=self._unflushed):
            self._unflushed = 0
            await self.call("flush")
        points, indexed = await self.call("sizes")
        # What a build leaves out (a rest too small for an index) is no reason for the next one.
        self._left_unindexed = min(self._left_unindexed, points - indexed)
        if self._is_due(points, indexed):
            await self.build_index()
            points, indexed = await self.call("sizes")
            self._left_unindexed = points - indexed

    def _is_due(self, points: int, indexed: int, *, unflushed: int = 0) -> bool:
        """Return whether an index is to be built, where so many more may have left it."""
        fresh = points - indexed - self._left_unindexed + unflushed
        return fresh > max(self._settings.unindexed_max, indexed * self._settings.unindexed_share_max)

    async def _get_unstuck(self) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < _ROOM_BYTES:
            raise StoreUnavailable(
                f"{free} bytes are free for {self._folder}: every write is refused until there is room"
            )
        logger.warning("the store's process is started again: it refused every write after one that failed")
        async with self._writes:
            await self._engine.stop()
            self._is_stuck = False
            self._restart()
            if self._restarting is not None:
                await asyncio.shield(self._restarting)

    async def build_index(self) -> None:
        """Build indexes of everything that is there now; lookups and writes go on.

        Raises:
            StoreError: it did not come to an end; all is as before.
        """
        async with self._builds:
            await self._build()

    async def removed_at(self) -> float | None:
        """Return the Unix time of the oldest removal whose text is still in files; None: there is none."""
        since: float | None = await self.call("removed_at")
        return since

    async def erase(self) -> None:
        """Return when no text of what was removed before is in any file; it goes on where nobody waits for it any more.

        Raises:
            StoreError: it may still be there.
        """
        if self._next_erasure is None:
            self._next_erasure = asyncio.create_task(self._erase())
            self._erasing.add(self._next_erasure)
            self._next_erasure.add_done_callback(self._end_erasure)
        await asyncio.shield(self._next_erasure)

    async def _erase(self) -> None:
        async with self._builds:
            self._next_erasure = None
            if await self.removed_at() is not None:
                await self._build()

    def _end_erasure(self, task: asyncio.Task[None]) -> None:
        self._erasing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("text of what was removed is still in files: %s", error)

    async def _build(self) -> None:
        generation = self._generation + 1
        following = self._new_engine(generation)
        self._touched, self._is_copy_stale = set(), False
        try:
            await following.start(self._settings.start_timeout, _NICE)
            await self._copy(following)
            await following.call("build", timeout_seconds=None)
            await following.stop()
            # A process of its own again: a priority that was given up is not given back.
            following = self._new_engine(generation)
            await following.start(self._settings.start_timeout)
            old = await self._swap(following, generation)
        except BaseException:
            await following.kill()
            # A shard is made under another name, which it keeps where its process died over it.
            for folder in (following.folder, following.folder.with_name(f"{generation}.new")):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self._touched = None
        await old.stop()
        try:
            await asyncio.to_thread(shutil.rmtree, old.folder)
        except OSError as error:
            raise StoreUnavailable(f"{old.folder} could not be removed: {error.strerror or error}") from error

    async def _copy(self, target: EngineProcess) -> None:
        start: str | None = None
        while True:
            points, start = await self.call("scan", [], self._settings.copy_page_entries, start)
            await target.call("add", points, timeout_seconds=None)
            if start is None:
                return

    async def _swap(self, following: EngineProcess, generation: int) -> EngineProcess:
        while self._touched and len(self._touched) > _CATCH_UP_ENTRIES:
            await self._catch_up(following, self._touched)
        async with self._writes:
            while self._touched:
                await self._catch_up(following, self._touched)
            if self._is_copy_stale:
                raise StoreUnavailable("a removal is in doubt since the index was begun; it will be built again")
            # What was copied again last is in its log only, and may be on the disk where it was before.
            await asyncio.to_thread(force_log, following.folder)
            replace_file(self._folder / _POINTER, str(generation))
            old, self._engine, self._generation = self._engine, following, generation
        return old

    async def _catch_up(self, following: EngineProcess, touched: set[str]) -> None:
        ids = [touched.pop() for _ in range(min(len(touched), _CATCH_UP_ENTRIES))]
        points = await self.call("fetch", ids)
        await following.call("add", points, timeout_seconds=None)
        await following.call("delete", [*set(ids) - {point[0] for point in points}], timeout_seconds=None)

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        async with self._writes:
            try:
                yield
            except StoreRefused as error:
                self._is_stuck = self._is_stuck or _STUCK in str(error)
                raise

    def _restart(self) -> None:
        if self._keeping is not None and (self._restarting is None or self._restarting.done()):
            self._restarting = asyncio.create_task(self._start_again())

    async def _start_again(self) -> None:
        for attempt, pause in enumerate(_RESTART_SECONDS, 1):
            engine = self._new_engine(self._generation)
            try:
                await engine.start(self._settings.start_timeout)
            except StoreUnavailable as error:
                logger.warning("attempt %d to start the store's process again: %s", attempt, error)
                await asyncio.sleep(pause)
            else:
                self._known.forget()
                self._engine = engine
                return

    async def _repeat(self, step: Step, first: Step | None = None) -> None:
        upkeep = first or step
        while True:
            try:
                await upkeep()
            except (StoreError, OSError) as error:
                logger.warning("upkeep of the store: %s", error)
            upkeep = step
            await asyncio.sleep(self._settings.flush_interval)

    def _new_engine(self, generation: int) -> EngineProcess:
        return EngineProcess(
            self._folder / str(generation),
            self._dimensions,
            index_threads=self._settings.index_threads,
            calls_max=self._settings.calls_max,
            warm_bytes_max=self._settings.warm_bytes_max,
        )

    def _read_pointer(self) -> int:
        pointer = self._folder / _POINTER
        try:
            return int(pointer.read_text())
        except ValueError:
            raise StoreUnavailable(f"{pointer} does not name a generation") from None
        except FileNotFoundError:
            # Before the first start has come to its end there is at most generation 1.
            if any(path.stem != "1" for path in self._folder.glob("[0-9]*")):
                raise StoreUnavailable(f"{pointer} is missing") from None
            return 1
