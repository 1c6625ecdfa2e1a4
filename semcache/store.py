"""The store port: entries by id, and by meaning within a scope.

    EntryStores ── open(model) ──▶ EntryStore          one folder or collection per model identity
         │                            get · nearest · add · publish · amend · remove · evict · compact · count · scan
         ├── serve(alias, slug)       which of them answers for a namespace: moved at once, and back
         ├── moments, invalidations   of namespaces, beside all models: a migration cannot bring one back
         └── notes                    of what replicas tell each other

1. Scope, epoch, expiry and state are conditions *inside* the vector search: nobody else's entry, nothing expired,
   invalidated or quarantined is ever returned, and the k nearest are k that may be served.
2. Time is an argument. An entry is there while `expires_at > now`.
3. Every write may be repeated: an entry stored twice is one entry, by its id.
4. Big removals go in small pieces: `remove` and `evict` take a bound and say how many went, so that lookups come
   between.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from semcache.embedder import ModelIdentity
from semcache.entry import EmbeddedEntry, Embedding, Entry, EntryId, Record, ScopeId, State
from semcache.invalidation import Moment, Noted


@dataclass(frozen=True, slots=True)
class Question:
    """One search by meaning."""

    scope: ScopeId
    epoch: int
    embedding: Embedding = field(repr=False, compare=False)
    limit: int = 5
    similarity_min: float = 0.0
    created_after: float = -math.inf
    """Unix time: entries stored before it are too old for this caller."""
    whole_from: float = math.inf
    """Similarity from which the nearest is likely to be served: a store that has it at hand brings its entry along."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry near a question: what a verifier needs; the entry itself is got by id once it is chosen."""

    id: EntryId
    similarity: float
    """Cosine."""
    prompt: str = field(repr=False)
    entry: Entry | None = field(default=None, repr=False)
    """All of it, where the store brought it along: only that of the nearest, and only from `whole_from` on."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Which entries, all conditions together; nothing else is implied: expired and quarantined ones are meant too."""

    namespace: str | None = None
    scope: ScopeId | None = None
    tenant: str | None = None
    tag: str | None = None
    ids: tuple[EntryId, ...] | None = None
    expired_at: float | None = None
    """Unix time: those that are expired then."""
    epoch_below: int | None = None
    """Those of older epochs."""
    state: State | None = None
    created_before: float | None = None
    """Unix time: those stored then or before."""

    def matches(self, entry: Entry) -> bool:
        """Return whether the entry is meant."""
        return (
            (self.namespace is None or entry.namespace == self.namespace)
            and (self.scope is None or entry.scope == self.scope)
            and (self.tenant is None or entry.tenant == self.tenant)
            and (self.tag is None or self.tag in entry.tags)
            and (self.ids is None or entry.id in self.ids)
            and (self.expired_at is None or entry.expires_at <= self.expired_at)
            and (self.epoch_below is None or entry.epoch < self.epoch_below)
            and (self.state is None or entry.record.state is self.state)
            and (self.created_before is None or entry.created_at <= self.created_before)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, in an order that stays."""

    entries: Sequence[EmbeddedEntry]
    next: EntryId | None
    """Where to go on; none: that was all."""


class EntryStore(Protocol):
    """Entries of one model; memory, Qdrant Edge and Qdrant are held to one contract by `tests/contract`.

    Every verb may raise StoreTimeout, StoreUnavailable or StoreRefused.
    """

    @property
    def identity(self) -> ModelIdentity:
        """Model whose vectors it holds."""

    @property
    def is_healthy(self) -> bool:
        """False while it is known not to answer."""

    async def get(self, ids: Sequence[EntryId], now: float) -> Sequence[Entry | None]:
        """Return the entries that are live, in the order asked for.

        The caller compares `epoch`: an entry of another one is not to be served.
        """

    async def nearest(self, questions: Sequence[Question], now: float) -> Sequence[Sequence[Candidate]]:
        """Return for each question its nearest entries, nearest first; one search for all questions."""

    async def add(self, entries: Sequence[EmbeddedEntry]) -> None:
        """Store entries; one with an id that is there replaces it. Durable when it returns, but for a power cut.

        Raises:
            StoreRefused: an embedding has another number of dimensions; none was stored.
        """

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Have entries be served that were added as pending, with these records.

        One that is gone, that is not pending any more or was created at another time is left alone: it is another one.
        """

    async def amend(self, records: Mapping[EntryId, Record]) -> None:
        """Replace the records of entries; of those that are gone, none is made.

        The last writer wins, except that only a quarantined record replaces one of another state: whoever counts uses
        may not have heard of the judgement yet.
        """

    async def remove(self, selector: Selector, limit: int) -> int:
        """Remove at most `limit` of the selected entries; return how many. 0: none is left."""

    async def evict(self, namespace: str, limit: int) -> int:
        """Remove the `limit` entries of the namespace that are worth least; return how many."""

    async def count(self, selector: Selector) -> int:
        """Return how many entries are selected."""

    async def compact(self) -> bool:
        """Have storage forget what was removed or replaced before; True: no text of it is left in files.

        Lookups go on meanwhile, and it goes on where the caller leaves. False: the store decides itself, as a Qdrant
        server does, when it writes its files anew.
        """

    async def removed_at(self) -> float | None:
        """Return the Unix time of the oldest removal whose text is still in files; None: there is none, or nobody says."""

    async def scan(self, selector: Selector, limit: int, start: EntryId | None = None) -> Page:
        """Return a page of the selected entries with their embeddings; `start` is `Page.next` of the one before.

        Entries that are written meanwhile may or may not be seen; the others are seen once.
        """


class EntryStores(Protocol):
    """All entries of a deployment: a store per model, who answers for what, and epochs."""

    async def start(self) -> None:
        """Connect, or open the folder. A server that is away is connected to when a store is opened.

        Raises:
            StoreUnavailable: the folder cannot be used, or another process has it.
            StoreRefused: the server does not take us.
        """

    async def open(self, identity: ModelIdentity) -> EntryStore:
        """Return the store of a model, made if there is none; the same object every time."""

    async def models(self) -> Mapping[str, ModelIdentity]:
        """Return the models that have a store, by `ModelIdentity.slug`: also those that nobody asks any more.

        What removes a tenant, or what is expired, opens them all.
        """

    async def drop(self, slug: str) -> None:
        """Remove a model's store with all entries; nothing happens if there is none.

        Raises:
            StoreRefused: an alias still names it.
        """

    async def aliases(self) -> Mapping[str, str]:
        """Return which model answers for each alias, by slug."""

    async def serve(self, alias: str, slug: str) -> None:
        """Have a model answer for an alias from now on: at once for everybody, or not at all.

        Raises:
            StoreRefused: the model has no store.
        """

    async def moments(self, namespaces: Sequence[str]) -> Sequence[Moment]:
        """Return epochs and marks as all replicas see them now."""

    def known_moments(self, namespaces: Sequence[str]) -> Sequence[Moment] | None:
        """Return what `moments` would, where nobody has to be asked for it; None where somebody has to."""

    async def advance_epoch(self, namespace: str, now: float) -> int:
        """Give the namespace an epoch above all it had, durable when this returns; return it.

        It is the time in milliseconds where that is more, so that two replicas that advance at once cannot
        bring an old one back.
        """

    async def invalidate(self, namespace: str, subjects: Collection[str], now: float) -> int:
        """Note that these are invalid, durable when this returns; return its mark, above all that were seen before.

        What is there of them is removed by the caller, after this. The latest `NOTED_MAX` are remembered.
        """

    async def invalidations(self, namespace: str, after: int) -> Sequence[Noted]:
        """Return what was noted above a mark, `NOTED_MAX` at most: so many, and there may have been more."""

    async def notes(self, topic: str) -> Mapping[str, str]:
        """Return what is noted under a topic, by name, whichever replica noted it."""

    async def note(self, topic: str, name: str, text: str) -> None:
        """Have a note say this, for all replicas: durable when it returns, and the last writer wins."""

    async def stop(self) -> None:
        """Let go; calls under way get StoreUnavailable or StoreTimeout."""
