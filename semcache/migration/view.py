"""One model's store, while another model's is being filled beside it: reads go to its own, changes to both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from semcache.embedder import ModelIdentity
from semcache.entry import EmbeddedEntry, Entry, EntryId, Record
from semcache.errors import StoreError
from semcache.migration.carrier import Carrier
from semcache.store import Candidate, EntryStore, Page, Question, Selector

T = TypeVar("T")


class PairedStore:
    """An `EntryStore` for whoever looks up and stores by the model of `own`."""

    def __init__(self, own: EntryStore, other: EntryStore, carrier: Carrier, *, is_target: bool) -> None:
        self._own = own
        self._other = other
        self._carrier = carrier
        self._is_target = is_target

    @property
    def identity(self) -> ModelIdentity:
        """Model whose vectors it takes and finds."""
        return self._own.identity

    @property
    def is_healthy(self) -> bool:
        """As its own store is."""
        return self._own.is_healthy

    async def get(self, ids: Sequence[EntryId], now: float) -> Sequence[Entry | None]:
        """Return live entries; those that are only in the other store too: an exact hit needs no vector."""
        found = await self._own.get(ids, now)
        missing = [one for one, entry in zip(ids, found, strict=True) if entry is None]
        if not missing or not self._is_target or self._carrier.is_done:
            return found
        there = dict(zip(missing, await self._other.get(missing, now), strict=True))
        # Quarantine in its own store is not got around: there it is found, and only not served.
        if any(there.values()):
            kept = await self._own.scan(Selector(ids=tuple(missing)), len(missing))
            for each in kept.entries:
                there[each.entry.id] = None
        return [entry or there.get(one) for one, entry in zip(ids, found, strict=True)]

    async def nearest(self, questions: Sequence[Question], now: float) -> Sequence[Sequence[Candidate]]:
        """Search among those that have a vector of this model."""
        return await self._own.nearest(questions, now)

    async def add(self, entries: Sequence[EmbeddedEntry]) -> None:
        """Store entries; they are carried to the other store before others."""
        await self._own.add(entries)
        self._carrier.note(self._own, [each.entry.id for each in entries])

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Publish in both what is pending there; what is carried as pending is carried again."""
        await self._everywhere(lambda store: store.publish(entries), self._thrice)
        self._carrier.note(self._own, [each.id for each in entries])

    async def amend(self, records: Mapping[EntryId, Record]) -> None:
        """Replace records in both; what is used is carried before others."""
        await self._everywhere(lambda store: store.amend(records), self._thrice)
        self._carrier.note(self._own, records)

    async def remove(self, selector: Selector, limit: int) -> int:
        """Remove selected entries from both."""
        return max(await self._everywhere(lambda store: store.remove(selector, limit), self._thrice))

    async def evict(self, namespace: str, limit: int) -> int:
        """Remove what is worth least; what of it the other store has is evicted there."""
        return await self._own.evict(namespace, limit)

    async def compact(self) -> bool:
        """Have both forget what was removed."""
        return all(await self._everywhere(lambda store: store.compact(), [self._own, self._other]))

    async def removed_at(self) -> float | None:
        """Return since when one of both has text of what was removed."""
        found = await self._everywhere(lambda store: store.removed_at(), [self._own, self._other])
        return min((each for each in found if each is not None), default=None)

    async def count(self, selector: Selector) -> int:
        """Count its own."""
        return await self._own.count(selector)

    async def scan(self, selector: Selector, limit: int, start: EntryId | None = None) -> Page:
        """Return a page of its own."""
        return await self._own.scan(selector, limit, start)

    @property
    def _thrice(self) -> Sequence[EntryStore]:
        """Its own, the other, and its own once more: rule 2 of the carrier."""
        return [self._own, self._other, self._own]

    async def _everywhere(self, change: Callable[[EntryStore], Awaitable[T]], stores: Sequence[EntryStore]) -> list[T]:
        done = []
        for store in stores:
            if store is self._other and self._carrier.is_source_lost:
                continue
            try:
                done.append(await change(store))
            except StoreError:
                if store is self._own or not self._carrier.is_source_spare:
                    raise
                self._carrier.is_source_lost = True
        return done
