"""Which model answers for a namespace, through a change of models.

    alias names the model    ──▶ SETTLED
    alias names an old model ──▶ FILLING ── all carried ──▶ MOVED ── kept long enough ──▶ SETTLED, the old one is dropped
                                    │ old one leads            │ new one leads
                                    └───── roll back ◀─────────┘ ──▶ ROLLED_BACK: the old one leads, until a restart

1. The alias is what counts: it moves at once for everybody. A crash anywhere leaves it at one of two models that have
   everything; what was carried is not carried again.
2. Whoever looks up takes `answering` once and uses its embedder with its store: vectors of two models never meet.
3. An old model that cannot be loaded any more cannot lead. Then the new one does from the start, and is filled from the
   prompts of the old one; exact hits are found in both meanwhile.
4. Only the configuration that a process started with begins a change. A process whose alias was moved by another
   follows if it has that model, and never moves it back: replicas with two configurations do not fight.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from semcache.backends import Phase, Progress
from semcache.embedder import Embedder
from semcache.errors import SemcacheError, StoreRefused
from semcache.migration.carrier import Carrier, Side
from semcache.migration.view import PairedStore
from semcache.settings import MigrationSettings
from semcache.store import EntryStore, EntryStores, Selector
from serving.clock import Clock
from serving.metrics import Registry

logger = logging.getLogger(__name__)

Find = Callable[[str], Awaitable[Embedder | None]]
"""Loads a model by its slug, started; None where it is not to be had. Who gives it stops it."""


@dataclass(frozen=True, slots=True)
class Answering:
    """A model and its store: what one lookup is made with."""

    embedder: Embedder
    store: EntryStore


class Lineage:
    """One namespace's models."""

    def __init__(
        self,
        namespace: str,
        stores: EntryStores,
        find: Find,
        settings: MigrationSettings,
        clock: Clock,
        registry: Registry,
    ) -> None:
        self._namespace = namespace
        self._stores = stores
        self._find = find
        self._settings = settings
        self._clock = clock
        self._answering: Answering | None = None
        self._change: _Change | None = None
        self._running: asyncio.Task[None] | None = None
        self._failures = registry.counter("weir.semcache.migration.failures", namespace=namespace)
        registry.gauge("weir.semcache.migration.left", self._left, namespace=namespace)

    @property
    def answering(self) -> Answering:
        """What a lookup is made with now; taken once per lookup."""
        if self._answering is None:
            raise AssertionError("start() comes first")
        return self._answering

    @property
    def progress(self) -> Progress:
        """How far a change of models is."""
        change = self._change
        if change is None:
            return Progress(Phase.SETTLED)
        old, new = change.source.identity.slug, change.target.identity.slug
        return Progress(change.phase, old, new, change.carrier.read, change.carrier.embedded, change.total)

    async def start(self, embedder: Embedder) -> None:
        """Have this model answer: at once where it already does, else when it has everything.

        Raises:
            SemcacheError: a store failed; the alias is where it was.
        """
        await self.stop()
        self._change = None
        identity = embedder.identity
        own = await self._stores.open(identity)
        slug = (await self._stores.aliases()).get(self._namespace)
        before = (await self._stores.models()).get(slug) if slug and slug != identity.slug else None
        if before is None:
            if slug != identity.slug:
                await self._stores.serve(self._namespace, identity.slug)
            self._answering = Answering(embedder, own)
            return
        source = Side(await self._find(before.slug), await self._stores.open(before))
        total = await source.store.count(Selector(namespace=self._namespace))
        self._change = _Change(self._namespace, source, Answering(embedder, own), self._settings, total)
        self._answering = self._change.old or self._change.new
        logger.info("%s: %d entries of %s are carried to %s", self._namespace, total, before.slug, identity.slug)
        self._running = asyncio.create_task(self._run(self._change))

    async def stop(self) -> None:
        """End after the step under way; what is carried stays."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def roll_back(self) -> None:
        """Have the old model answer again, at once.

        Raises:
            StoreRefused: there is no old model that could.
        """
        change = self._change
        if change is None or change.old is None or change.carrier.is_source_lost:
            raise StoreRefused(f"{self._namespace} has no other model to go back to")
        if change.phase is Phase.FILLING:
            raise StoreRefused(f"{self._namespace}: the old model still answers; change `model` back to keep it")
        await self._stores.serve(self._namespace, change.old.store.identity.slug)
        self._move_back(change, change.old)

    async def _run(self, change: _Change) -> None:
        while self._change is change:
            try:
                embedded = await change.carrier.step()
                await self._advance(change)
            except SemcacheError as error:
                self._failures.add()
                logger.warning("%s: carrying entries to another model: %s", self._namespace, error)
                await asyncio.sleep(self._settings.retry_interval)
            else:
                idle = self._settings.retry_interval if change.carrier.is_done else 0.0
                await asyncio.sleep(max(idle, embedded / self._settings.entries_per_second))

    async def _advance(self, change: _Change) -> None:
        phase, slug = change.phase, (await self._stores.aliases()).get(self._namespace)
        if phase is not change.phase:
            return  # rolled back meanwhile: the alias was read too early to say anything
        match phase:
            case Phase.FILLING | Phase.ROLLED_BACK if slug == change.new.store.identity.slug:
                self._move(change)  # another replica did it
            case Phase.MOVED if change.old is not None and slug == change.old.store.identity.slug:
                self._move_back(change, change.old)
            case Phase.FILLING if change.carrier.is_done:
                if change.is_reconciled:
                    await self._stores.serve(self._namespace, change.new.store.identity.slug)
                    self._move(change)
                else:  # once: what it notes is carried, and then it moves
                    await change.carrier.reconcile()
                    change.is_reconciled = True
            case Phase.MOVED if self._clock.steady() - change.moved_at >= self._settings.keep:
                await self._settle(change)
            case _:
                pass

    def _move(self, change: _Change) -> None:
        self._answering, change.phase, change.moved_at = change.new, Phase.MOVED, self._clock.steady()
        change.carrier.is_source_spare = True
        logger.info("%s: %s answers now", self._namespace, change.new.store.identity.slug)

    def _move_back(self, change: _Change, old: Answering) -> None:
        self._answering, change.phase = old, Phase.ROLLED_BACK
        change.carrier.is_source_spare = False
        logger.warning("%s: back to %s", self._namespace, old.store.identity.slug)

    async def _settle(self, change: _Change) -> None:
        self._answering = Answering(change.new.embedder, change.target)
        slug = change.source.identity.slug
        with suppress(StoreRefused):  # another namespace has it still, and will drop it
            await self._stores.drop(slug)
            logger.info("%s: %s is dropped", self._namespace, slug)
        self._change = None

    def _left(self) -> float:
        change = self._change
        return max(0, change.total - change.carrier.read) if change and change.phase is Phase.FILLING else 0


class _Change:
    """A change under way: both sides, each with its view."""

    def __init__(
        self, namespace: str, source: Side, target: Answering, settings: MigrationSettings, total: int
    ) -> None:
        carrier = Carrier(namespace, source, Side(target.embedder, target.store), settings)
        self.carrier = carrier
        self.source, self.target, self.total = source.store, target.store, total
        self.new = Answering(target.embedder, PairedStore(target.store, source.store, carrier, is_target=True))
        self.old = (
            None
            if source.embedder is None
            else Answering(source.embedder, PairedStore(source.store, target.store, carrier, is_target=False))
        )
        self.phase = Phase.FILLING
        self.is_reconciled = False
        self.moved_at = 0.0
