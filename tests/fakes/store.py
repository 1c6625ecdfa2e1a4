"""The entry store as plainly as it can be said; held to the port by tests/contract."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from semcache.embedder import ModelIdentity
from semcache.entry import EmbeddedEntry, Entry, EntryId, Record, State
from semcache.errors import StoreError, StoreRefused
from semcache.invalidation import NOTED_MAX, Moment, Noted
from semcache.store import Candidate, Page, Question, Selector
from tests.fakes.entries import NOW


class FakeStore:
    """Set `failure`, and every verb raises it. Whatever is removed is removed at `NOW`."""

    def __init__(self, identity: ModelIdentity) -> None:
        self.identity = identity
        self.failure: StoreError | None = None
        self.rows: dict[EntryId, EmbeddedEntry] = {}
        self.removed: float | None = None

    @property
    def is_healthy(self) -> bool:
        return self.failure is None

    async def get(self, ids: Sequence[EntryId], now: float) -> Sequence[Entry | None]:
        found = [self._rows().get(one) for one in ids]
        return [row.entry if row is not None and row.entry.is_live(now) else None for row in found]

    async def nearest(self, questions: Sequence[Question], now: float) -> Sequence[Sequence[Candidate]]:
        return [self._nearest(question, now) for question in questions]

    def _nearest(self, question: Question, now: float) -> Sequence[Candidate]:
        candidates = [
            Candidate(
                row.entry.id,
                min(1.0, float(np.dot(row.embedding, question.embedding))),
                row.entry.prompt,
            )
            for row in self._rows().values()
            if (row.entry.scope, row.entry.epoch) == (question.scope, question.epoch)
            and row.entry.is_live(now)
            and row.entry.created_at >= question.created_after
        ]
        near = [candidate for candidate in candidates if candidate.similarity >= question.similarity_min]
        found = sorted(near, key=lambda candidate: -candidate.similarity)[: question.limit]
        if found and found[0].similarity >= question.whole_from:
            found[0] = replace(found[0], entry=self._rows()[found[0].id].entry)
        return found

    async def add(self, entries: Sequence[EmbeddedEntry]) -> None:
        if any(len(row.embedding) != self.identity.dimensions for row in entries):
            raise StoreRefused("wrong number of dimensions")
        rows = self._rows()
        known = [(rows[row.entry.id].entry, row.entry) for row in entries if row.entry.id in rows]
        if any((old.completion, old.source) != (new.completion, new.source) for old, new in known):
            self.removed = NOW
        rows.update({row.entry.id: row for row in entries})

    async def amend(self, records: Mapping[EntryId, Record]) -> None:
        rows = self._rows()
        for one in records.keys() & rows.keys():
            if records[one].state in {State.QUARANTINED, rows[one].entry.record.state}:
                rows[one] = replace(rows[one], entry=replace(rows[one].entry, record=records[one]))

    async def publish(self, entries: Sequence[Entry]) -> None:
        rows = self._rows()
        for entry in entries:
            row = rows.get(entry.id)
            if row is None or row.entry.record.state is not State.PENDING or row.entry.created_at != entry.created_at:
                continue
            rows[entry.id] = replace(row, entry=replace(row.entry, record=entry.record))

    async def remove(self, selector: Selector, limit: int) -> int:
        return self._delete([row.entry for row in self._rows().values() if selector.matches(row.entry)][:limit])

    async def evict(self, namespace: str, limit: int) -> int:
        mine = [row.entry for row in self._rows().values() if row.entry.namespace == namespace]
        return self._delete(sorted(mine, key=lambda entry: entry.record.worth)[:limit])

    async def compact(self) -> bool:
        self._rows()
        self.removed = None
        return True

    async def removed_at(self) -> float | None:
        self._rows()
        return self.removed

    async def count(self, selector: Selector) -> int:
        return sum(selector.matches(row.entry) for row in self._rows().values())

    async def scan(self, selector: Selector, limit: int, start: EntryId | None = None) -> Page:
        ids = sorted(one for one, row in self._rows().items() if selector.matches(row.entry) and one >= (start or ""))
        return Page([self.rows[one] for one in ids[:limit]], ids[limit] if len(ids) > limit else None)

    def _delete(self, entries: Sequence[Entry]) -> int:
        for entry in entries:
            del self.rows[entry.id]
            self.removed = NOW
        return len(entries)

    def _rows(self) -> dict[EntryId, EmbeddedEntry]:
        if self.failure is not None:
            raise self.failure
        return self.rows


class FakeStores:
    """Everything in dictionaries."""

    def __init__(self) -> None:
        self._stores: dict[str, FakeStore] = {}
        self._aliases: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._noted: dict[str, Sequence[Noted]] = {}
        self._notes: dict[str, dict[str, str]] = {}
        self.failure: StoreError | None = None

    async def start(self) -> None:
        pass

    async def open(self, identity: ModelIdentity) -> FakeStore:
        return self._stores.setdefault(identity.slug, FakeStore(identity))

    async def models(self) -> Mapping[str, ModelIdentity]:
        return {slug: store.identity for slug, store in self._stores.items()}

    async def drop(self, slug: str) -> None:
        if slug in self._aliases.values():
            raise StoreRefused("an alias names it")
        self._stores.pop(slug, None)

    async def aliases(self) -> Mapping[str, str]:
        return dict(self._aliases)

    async def serve(self, alias: str, slug: str) -> None:
        if slug not in self._stores:
            raise StoreRefused("no store")
        self._aliases[alias] = slug

    async def moments(self, namespaces: Sequence[str]) -> Sequence[Moment]:
        if self.failure is not None:
            raise self.failure
        return [
            Moment(self._epochs.get(name, 0), max((each.mark for each in self._noted.get(name, ())), default=0))
            for name in namespaces
        ]

    def known_moments(self, namespaces: Sequence[str]) -> None:
        """Like a server's: it has to be asked."""

    async def invalidate(self, namespace: str, subjects: Collection[str], now: float) -> int:
        (before,) = await FakeStores.moments(self, [namespace])
        mark = max(before.mark + 1, int(now * 1000))
        noted = [*self._noted.get(namespace, ()), *(Noted(mark, each) for each in subjects)]
        self._noted[namespace] = noted[-NOTED_MAX:]
        return mark

    async def invalidations(self, namespace: str, after: int) -> Sequence[Noted]:
        return [each for each in self._noted.get(namespace, ()) if each.mark > after]

    async def advance_epoch(self, namespace: str, now: float) -> int:
        self._epochs[namespace] = max(self._epochs.get(namespace, 0) + 1, int(now * 1000))
        return self._epochs[namespace]

    async def notes(self, topic: str) -> Mapping[str, str]:
        if self.failure is not None:
            raise self.failure
        return dict(self._notes.get(topic, {}))

    async def note(self, topic: str, name: str, text: str) -> None:
        if self.failure is not None:
            raise self.failure
        self._notes.setdefault(topic, {})[name] = text

    async def stop(self) -> None:
        pass
