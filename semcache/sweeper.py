"""Removing what nobody may get any more, and what is one too many; and having files forget it.

    every model that is stored ──▶ expired ──▶ abandoned ──▶ of older epochs ──▶ beyond a namespace's capacity ──▶ pause
                                   └────────────── a small batch, a breath, the next batch ──────────────┘
                               ──▶ text of what was removed is in files for too long ──▶ compact, meanwhile all goes on

1. This is about space only: searches leave out what is expired, pending or of an older epoch by themselves.
2. A batch is small and a breath follows it, so that lookups come between; how fast it goes is the quotient of both.
3. What may not be served goes before what may. Beyond capacity goes what is worth least: what is in quarantine or was
   found wrong, then what was used least lately. Capacity is counted again before each batch: of several replicas over
   one store each takes at most one batch too many.
4. Models that no namespace uses any more are swept as well: prompts do not stay because a model was changed.
5. Abandoned is what was added and not published for `pending_max`: whoever did has died or failed in between. It goes, for
   nobody knows any more whether it was invalidated meanwhile.
6. What was removed is not readable by anybody, and its text is still in files. How long is bounded by `forget_after`; a
   purge has it done at once.
7. A store that fails is tried again with the next sweep, and does not keep the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from semcache.entry import State
from semcache.errors import SemcacheError
from semcache.settings import SweeperSettings
from semcache.store import EntryStore, EntryStores, Selector
from serving.clock import Clock
from serving.metrics import Registry, Sample

logger = logging.getLogger(__name__)

ENTRIES, ENTRIES_MAX = "weir.semcache.entries", "weir.semcache.entries_max"

Capacities = Mapping[str, int]
"""Most entries of each namespace."""


class Sweeper:
    """Sweeps from time to time, for as long as the process serves."""

    def __init__(
        self,
        stores: EntryStores,
        capacities: Callable[[], Capacities],
        settings: SweeperSettings,
        clock: Clock,
        registry: Registry,
    ) -> None:
        self._stores = stores
        self._capacities = capacities
        self._settings = settings
        self._clock = clock
        self._removed = {
            reason: registry.counter("weir.semcache.swept", reason=reason)
            for reason in ("expired", "abandoned", "epoch", "capacity")
        }
        self._failures = registry.counter("weir.semcache.sweep_failures")
        self._sweeping: asyncio.Task[None] | None = None
        self._removed_at: dict[EntryStore, float] = {}
        self._compacting: dict[EntryStore, asyncio.Task[None]] = {}
        registry.gauge("weir.semcache.removed_text_age_seconds", self._removed_age_seconds)
        self._entries: dict[tuple[EntryStore, str], int] = {}
        registry.add_source(self._show_entries)

    async def start(self) -> None:
        """Begin, one interval from now."""
        self._sweeping = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End after the batch under way."""
        ending = [*([self._sweeping] if self._sweeping else []), *self._compacting.values()]
        self._sweeping = None
        for each in ending:
            each.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def sweep(self) -> None:
        """Go over every store once.

        Raises:
            SemcacheError: the stores cannot be listed.
        """
        identities = await self._stores.models()
        self._removed_at = {each: at for each, at in self._removed_at.items() if each.identity.slug in identities}
        self._entries = {each: count for each, count in self._entries.items() if each[0].identity.slug in identities}
        for identity in identities.values():
            try:
                await self._sweep_store(await self._stores.open(identity))
            except SemcacheError as error:
                self._failures.add()
                logger.warning("sweeping %s: %s", identity.slug, error)

    async def purge(self, selector: Selector) -> tuple[int, bool]:
        """Remove every selected entry of every model, and have files forget it; return how many, and whether they have.

        They have not where it takes longer than `erase_wait`, and go on, or where the store decides that by itself.

        Raises:
            SemcacheError: some may be left; it may be repeated.
        """
        gone, stores = 0, await self._all_stores()
        # Twice over all: an entry that is just carried from one model's store to another's is met in one of them.
        for store in [*stores, *stores]:
            while removed := await store.remove(selector, self._settings.batch_entries_max):
                gone += removed
                await self._breathe()
        return gone, await self._erase(stores)

    async def _erase(self, stores: Sequence[EntryStore]) -> bool:
        if not stores:
            return True
        # Also where nothing was removed now: the text of what had expired before is in files as well.
        compacting = [asyncio.ensure_future(store.compact()) for store in stores]
        try:
            done, late = await asyncio.wait(compacting, timeout=self._settings.erase_wait)
            have_erased = [each.result() for each in done]
            return all(have_erased) and not late
        finally:
            # Only who waits: what was begun goes on.
            for each in compacting:
                each.cancel()

    async def _all_stores(self) -> Sequence[EntryStore]:
        return [await self._stores.open(each) for each in (await self._stores.models()).values()]

    async def _sweep_store(self, store: EntryStore) -> None:
        now = self._clock.wall()
        await self._remove("expired", store, Selector(expired_at=now))
        abandoned = Selector(state=State.PENDING, created_before=now - self._settings.pending_max)
        await self._remove("abandoned", store, abandoned)
        capacities = self._capacities()
        moments = await self._stores.moments(list(capacities))
        for (namespace, entries_max), moment in zip(capacities.items(), moments, strict=True):
            await self._remove("epoch", store, Selector(namespace=namespace, epoch_below=moment.epoch))
            await self._evict(store, namespace, entries_max)
        await self._forget(store)

    async def _remove(self, reason: str, store: EntryStore, selector: Selector) -> None:
        while removed := await store.remove(selector, self._settings.batch_entries_max):
            self._removed[reason].add(removed)
            await self._breathe()

    async def _evict(self, store: EntryStore, namespace: str, entries_max: int) -> None:
        while True:
            entries = self._entries[store, namespace] = await store.count(Selector(namespace=namespace))
            if entries <= entries_max:
                return
            removed = await store.evict(namespace, min(entries - entries_max, self._settings.batch_entries_max))
            self._removed["capacity"].add(removed)
            if not removed:
                return
            await self._breathe()

    async def _forget(self, store: EntryStore) -> None:
        removed_at = await store.removed_at()
        if removed_at is None:
            self._removed_at.pop(store, None)
            return
        self._removed_at[store] = removed_at
        is_due = self._clock.wall() - removed_at > self._settings.forget_after
        if is_due and store not in self._compacting:
            # Minutes, where there is much: sweeping goes on meanwhile.
            self._compacting[store] = asyncio.create_task(self._compact(store))

    async def _compact(self, store: EntryStore) -> None:
        try:
            await store.compact()
        except SemcacheError as error:
            self._failures.add()
            logger.warning("forgetting what was removed from %s: %s", store.identity.slug, error)
        finally:
            del self._compacting[store]

    def _removed_age_seconds(self) -> float:
        return max((self._clock.wall() - each for each in self._removed_at.values()), default=0.0)

    def _show_entries(self) -> Iterator[Sample]:
        counted = Counter[str]()
        for (_, namespace), entries in self._entries.items():
            counted[namespace] += entries
        for namespace, entries_max in self._capacities().items():
            yield Sample(ENTRIES, counted[namespace], "gauge", {"ns": namespace})
            yield Sample(ENTRIES_MAX, entries_max, "gauge", {"ns": namespace})

    async def _breathe(self) -> None:
        await asyncio.sleep(self._settings.pause)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.interval)
            try:
                await self.sweep()
            except SemcacheError as error:
                self._failures.add()
                logger.warning("sweeping: %s", error)
