"""What operators and judges of answers do: invalidate, give feedback, describe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from semcache.backends import Backends, Progress
from semcache.entry import Entry, EntryId
from semcache.errors import StoreUnavailable
from semcache.invalidation import subjects
from semcache.judging import Judges, Standing
from semcache.namespaces import Namespace
from semcache.store import EntryStore, EntryStores, Selector
from semcache.tallies import Share, Tally, share
from semcache.tickets import Ticket
from semcache.upkeep import Upkeep

Purge: TypeAlias = Callable[[Selector], Awaitable[tuple[int, bool]]]
"""Removes what is selected to the last file; returns how many entries, and whether no text of them is left in any."""

# Entries removed in one step: lookups come between.
_PIECE_ENTRIES = 256


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a judgement."""

    is_quarantined: bool
    is_learned: bool
    is_shadow_hit: bool = False
    """The namespace's shadow setting would have served it."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What an invalidation did."""

    entries: int
    is_erased: bool = False
    """No text of them is left in the store's files."""
    epoch: int = 0
    """Of the namespace from now on, where it was emptied."""


@dataclass(frozen=True, slots=True)
class NamespaceState:
    """How a namespace does."""

    namespace: Namespace
    model: str
    entries: int
    epoch: int
    tally: Tally
    hit_rate: Share
    error_rate: Share
    standing: Standing
    progress: Progress
    """Of a change of its model."""


class Curating:
    """Looks after entries."""

    def __init__(self, stores: EntryStores, backends: Backends, judges: Judges, upkeep: Upkeep, purge: Purge) -> None:
        self._stores = stores
        self._backends = backends
        self._judges = judges
        self._upkeep = upkeep
        self._purge = purge

    async def count(self, selector: Selector) -> int:
        """Count the selected entries of every model's store.

        Raises:
            StoreError: it is not known.
        """
        return sum([await store.count(selector) for store in await self._all_stores()])

    async def invalidate(
        self, namespace: Namespace, selector: Selector, now: float, *, must_erase: bool = False
    ) -> Forgotten:
        """Remove the selected entries from every model's store, and what is being fetched of them.

        Raises:
            StoreError: some may be left; do it again.
        """
        # Noted first: what is stored after the removal has seen the note, and what was stored before it is removed.
        await self._stores.invalidate(namespace.name, _subjects(selector), now)
        # Of a tenant no text is to be left in any file; others are forgotten in time, as entries that expire.
        if must_erase or selector.tenant is not None:
            return Forgotten(*await self._purge(selector))
        number, stores = 0, await self._all_stores()
        # Twice over all: an entry that is just carried from one model's store to another's is met in one of them.
        for store in [*stores, *stores]:
            while removed := await store.remove(selector, _PIECE_ENTRIES):
                number += removed
        return Forgotten(number)

    async def empty(self, namespace: Namespace, now: float, *, is_dry_run: bool, must_erase: bool = False) -> Forgotten:
        """End a namespace's epoch; return how many entries there were.

        Raises:
            StoreError: it may not have been ended; do it again.
        """
        entries = await self.count(Selector(namespace=namespace.name))
        if is_dry_run:
            (moment,) = await self._stores.moments([namespace.name])
            return Forgotten(entries, epoch=moment.epoch)
        epoch, is_erased = await self._stores.advance_epoch(namespace.name, now), False
        if must_erase:
            _, is_erased = await self._purge(Selector(namespace=namespace.name, epoch_below=epoch))
        return Forgotten(entries, is_erased, epoch)

    async def find(self, namespace: Namespace, entry: EntryId) -> Entry | None:
        """Return an entry, whatever its state.

        Raises:
            StoreError: it is not known.
        """
        for store in await self._all_stores():
            page = await store.scan(Selector(namespace=namespace.name, ids=(entry,)), 1)
            if page.entries:
                return page.entries[0].entry
        return None

    async def judge(
        self, namespace: Namespace, entry: EntryId, ticket: Ticket | None, *, is_right: bool, now: float
    ) -> Judged:
        """Write a judgement down, and learn from it.

        Raises:
            StoreError: it may not have been written down; nothing was learned.
        """
        found = None
        for store in await self._all_stores():
            written = await self._upkeep.judge(store, namespace.name, entry, is_right=is_right)
            found = found or written
        is_quarantined, backend = found is not None and not is_right, self._backends.of(namespace)
        if ticket is None or ticket.entry != entry or backend is None:
            return Judged(is_quarantined, is_learned=False)
        # Asked before it is learned from: what the setting says of it now, and not what it made of it.
        is_shadow_hit = self._judges.shadow_serves(namespace, backend.model, ticket)
        is_learned = self._judges.learn(namespace, backend.model, ticket, is_right=is_right, now=now)
        return Judged(is_quarantined, is_learned, is_shadow_hit)

    async def roll_back(self, namespace: Namespace) -> str:
        """Have the model before answer again, for every replica; return its slug.

        Raises:
            StoreRefused: there is none that could.
        """
        await self._backends.roll_back(namespace)
        return self._backends.progress(namespace).old

    async def describe(self, namespace: Namespace, tally: Tally) -> NamespaceState:
        """Return how a namespace does.

        Raises:
            StoreError: its entries cannot be counted.
        """
        backend = self._backends.of(namespace)
        if backend is None:
            raise StoreUnavailable("the model of the namespace is not loaded")
        (moment,) = await self._stores.moments([namespace.name])
        asked = tally.asked
        return NamespaceState(
            namespace,
            backend.model,
            await backend.store.count(Selector(namespace=namespace.name)),
            moment.epoch,
            tally,
            share(tally.hits, asked),
            share(tally.wrong, tally.wrong + tally.right),
            self._judges.standing(namespace, backend.model),
            self._backends.progress(namespace),
        )

    async def _all_stores(self) -> Sequence[EntryStore]:
        """Return the stores of all models, also of those that nobody asks any more."""
        return [await self._stores.open(identity) for identity in (await self._stores.models()).values()]


def _subjects(selector: Selector) -> Collection[str]:
    tags = () if selector.tag is None else (selector.tag,)
    return subjects(ids=selector.ids or (), scope=selector.scope, tenant=selector.tenant, tags=tags)
