"""Records of entries, written behind: what was served how often, and when last.

    hit ─▶ waiting (bounded, summed) ── a piece at a time ─▶ read the record as it is now ─▶ add ─▶ amend

1. A lookup never waits for it, and a lost piece costs a few counts.
2. Nobody's judgement is written over: the record is read before it is written, and the store does not let a live
   record replace a quarantined one.
3. Pieces come as far apart as lets what waits now be written within the interval: all at once they held up whoever
   looked something up just then, 6 ms for the uses of one second.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, replace

from semcache.entry import Entry, EntryId, Record, State
from semcache.errors import StoreError
from semcache.store import EntryStore, Selector
from serving.clock import Clock
from serving.metrics import Registry

log = logging.getLogger(__name__)

# Lookups wait for one such piece at most: half a millisecond.
_PIECE_ENTRIES = 16


@dataclass(slots=True)
class _Uses:
    count: int = 0
    last_at: float = 0.0


class Upkeep:
    """Notes uses, and writes them down."""

    def __init__(
        self, clock: Clock, registry: Registry, *, interval_seconds: float = 1.0, waiting_max: int = 65_536
    ) -> None:
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._waiting_max = waiting_max
        # Ordered: taking the first of a plain one is slow once many before it went.
        self._waiting: OrderedDict[tuple[EntryStore, EntryId], _Uses] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._dropped = registry.counter("weir.semcache.uses.dropped")
        registry.gauge("weir.semcache.uses.waiting", lambda: len(self._waiting))

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what is left, and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.flush()

    def note(self, store: EntryStore, entry: EntryId, now: float) -> None:
        """Note that an entry was served."""
        key = (store, entry)
        if key not in self._waiting and len(self._waiting) >= self._waiting_max:
            self._dropped.add()
            return
        uses = self._waiting.setdefault(key, _Uses())
        uses.count += 1
        uses.last_at = now

    async def judge(self, store: EntryStore, namespace: str, entry: EntryId, *, is_right: bool) -> Entry | None:
        """Write a judgement down at once; return the entry as it was, or None where it is not there.

        Raises:
            StoreError: it may not have been written.
        """
        page = await store.scan(Selector(namespace=namespace, ids=(entry,)), 1)
        if not page.entries:
            return None
        found = page.entries[0].entry
        await store.amend({entry: _judged(found.record, is_right=is_right)})
        return found

    async def flush(self) -> None:
        """Write what waits."""
        for _ in range(0, len(self._waiting), _PIECE_ENTRIES):
            await self._write_piece()

    async def _write_piece(self) -> None:
        """Write the uses that wait longest."""
        by_store: dict[EntryStore, dict[EntryId, _Uses]] = {}
        for _ in range(min(_PIECE_ENTRIES, len(self._waiting))):
            (store, entry), uses = self._waiting.popitem(last=False)
            by_store.setdefault(store, {})[entry] = uses
        for store, uses_of in by_store.items():
            await self._write(store, uses_of)

    async def _write(self, store: EntryStore, uses_of: dict[EntryId, _Uses]) -> None:
        try:
            found = [each for each in await store.get([*uses_of], self._clock.wall()) if each is not None]
            await store.amend({each.id: _used(each.record, uses_of[each.id]) for each in found})
        except StoreError as error:
            self._dropped.add(len(uses_of))
            log.warning("uses of %d entries were not written down: %s", len(uses_of), error)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds / max(1, len(self._waiting) // _PIECE_ENTRIES))
            await self._write_piece()


def _used(record: Record, uses: _Uses) -> Record:
    return replace(record, hits=record.hits + uses.count, used_at=max(record.used_at, uses.last_at))


def _judged(record: Record, *, is_right: bool) -> Record:
    if is_right:
        return replace(record, right=record.right + 1)
    return replace(record, wrong=record.wrong + 1, state=State.QUARANTINED)
