"""Removing what nobody may get any more, and what is one too many.

    every model that is stored ──▶ expired ──▶ of older epochs ──▶ beyond a namespace's capacity ──▶ pause
                                   └────────── a small batch, a breath, the next batch ──────────┘

1. This is about space only: searches leave out what is expired or of an older epoch by themselves.
2. A batch is small and a breath follows it, so that lookups come between; how fast it goes is the quotient of both.
3. What may not be served goes before what may. Beyond capacity goes what is worth least: what is in quarantine or was
   found wrong, then what was used least lately. Capacity is counted again before each batch: of several replicas over
   one store each takes at most one batch too many.
4. Models that no namespace uses any more are swept as well: prompts do not stay because a model was changed.
5. A store that fails is tried again with the next sweep, and does not keep the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from semcache.errors import SemcacheError
from semcache.settings import SweeperSettings
from semcache.store import EntryStore, EntryStores, Selector
from serving.clock import Clock
from serving.metrics import Registry

logger = logging.getLogger(__name__)

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
            for reason in ("expired", "epoch", "capacity")
        }
        self._failures = registry.counter("weir.semcache.sweep_failures")
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, one interval from now."""
        self._sweeping = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End after the batch under way."""
        sweeping, self._sweeping = self._sweeping, None
        if sweeping is not None:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping

    async def sweep(self) -> None:
        """Go over every store once.

        Raises:
            SemcacheError: the stores cannot be listed.
        """
        for identity in (await self._stores.models()).values():
            try:
                await self._sweep_store(await self._stores.open(identity))
            except SemcacheError as error:
                self._failures.add()
                logger.warning("sweeping %s: %s", identity.slug, error)

    async def purge(self, selector: Selector) -> int:
        """Remove every selected entry of every model, and have storage forget it; return how many.

        Raises:
            SemcacheError: some may be left; it may be repeated.
        """
        gone, stores = 0, [await self._stores.open(each) for each in (await self._stores.models()).values()]
        # Twice over all: an entry that is just carried from one model's store to another's is met in one of them.
        for store in [*stores, *stores]:
            here = 0
            while removed := await store.remove(selector, self._settings.batch_entries_max):
                here += removed
                await self._breathe()
            if here:
                await store.compact()
            gone += here
        return gone

    async def _sweep_store(self, store: EntryStore) -> None:
        await self._remove("expired", store, Selector(expired_at=self._clock.wall()))
        capacities = self._capacities()
        moments = await self._stores.moments(list(capacities))
        for (namespace, entries_max), moment in zip(capacities.items(), moments, strict=True):
            await self._remove("epoch", store, Selector(namespace=namespace, epoch_below=moment.epoch))
            await self._evict(store, namespace, entries_max)

    async def _remove(self, reason: str, store: EntryStore, selector: Selector) -> None:
        while removed := await store.remove(selector, self._settings.batch_entries_max):
            self._removed[reason].add(removed)
            await self._breathe()

    async def _evict(self, store: EntryStore, namespace: str, entries_max: int) -> None:
        while (beyond := await store.count(Selector(namespace=namespace)) - entries_max) > 0:
            removed = await store.evict(namespace, min(beyond, self._settings.batch_entries_max))
            self._removed["capacity"].add(removed)
            if not removed:
                return
            await self._breathe()

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
