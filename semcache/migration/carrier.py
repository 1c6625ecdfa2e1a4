"""Carrying entries from one model's store to another's: the same ids, the same answers, other vectors.

    source ── noted ids first, then page by page ──▶ lacking or different? ──▶ embed ──▶ add ──▶ gone from the source
                                                                                               meanwhile? remove

1. A prompt is part of its entry's id, so an entry that is there has the right vector and is never embedded again: to
   go on after a crash is to begin again, and replicas that carry at once share the work: each begins anywhere.
2. Looking again after adding, and removals that go over one store, the other, and the one once more (`view`), leave no
   order of events in which what was removed stays in one of the two. Records that change are noted, and carried again.
3. What is noted is in use: it goes first. There may be `noted_max` of them; beyond it the pages are read once more.
4. Nothing here decides who serves; an error leaves everything as it is, to be tried again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semcache.embedder import Embedder, Embeddings
from semcache.entry import EmbeddedEntry, EntryId
from semcache.settings import MigrationSettings
from semcache.store import EntryStore, Selector


@dataclass(frozen=True, slots=True)
class Side:
    """A model and what it has."""

    embedder: Embedder | None
    """None where the model cannot be loaded any more: its entries can be read, and none can be added."""
    store: EntryStore


class Carrier:
    """Copies one namespace, and remembers how far it is."""

    def __init__(
        self, namespace: str, source: Side, target: Side, settings: MigrationSettings, first: str | None = None
    ) -> None:
        self._namespace = namespace
        self._source = source
        self._target = target
        self._settings = settings
        self._noted: dict[tuple[bool, EntryId], int] = {}
        self._number = 0
        self._first = EntryId(first or str(uuid.uuid4()))
        self._cursor: EntryId | None = self._first
        self._has_wrapped = False
        self._is_read = False
        self._must_read_again = False
        self.is_source_spare = False
        """The target answers and has everything: a source that fails is given up, and no change waits for it."""
        self.is_source_lost = False
        self.read = 0
        """Entries of the source that were looked at."""
        self.embedded = 0

    @property
    def is_done(self) -> bool:
        """Return whether all is carried that was there, and what was noted since."""
        return self._is_read and not self._noted

    def note(self, store: EntryStore, ids: Iterable[EntryId]) -> None:
        """Have entries of one of the two stores carried to the other before others.

        What does not fit is found by going through the source once more; what would have gone back to it is left out.
        """
        is_back = store is self._target.store
        if is_back and (self._source.embedder is None or self.is_source_lost):
            return
        for one in ids:
            if len(self._noted) >= self._settings.noted_max:
                self._must_read_again = True
                if self._is_read:
                    self._turn()
                return
            self._number += 1
            self._noted[is_back, one] = self._number

    async def step(self) -> int:
        """Carry a batch; return how many of it were embedded.

        Raises:
            SemcacheError: a store or the model failed; what was to be carried will be.
        """
        if self._noted:
            return await self._carry_noted()
        if not self._is_read:
            return await self._carry_page()
        return 0

    async def reconcile(self) -> None:
        """Find what was changed by who knew of the source only: what is gone there goes, what differs is noted.

        A source that nothing is added to any more (its model cannot be loaded) has nothing to say of what it lacks.
        """
        start: EntryId | None = None
        while True:
            page = await self._target.store.scan(self._mine, self._settings.batch_entries_max, start)
            there = await self._fetch(self._source.store, [each.entry.id for each in page.entries])
            if self._source.embedder is not None:
                await self._drop(
                    self._target.store, [each.entry.id for each in page.entries if each.entry.id not in there]
                )
            changed = [each for each in page.entries if there.get(each.entry.id, each).entry != each.entry]
            self.note(self._source.store, [each.entry.id for each in changed])
            start = page.next
            if start is None:
                return

    @property
    def _mine(self) -> Selector:
        return Selector(namespace=self._namespace)

    async def _carry_noted(self) -> int:
        is_back = next(iter(self._noted))[0]
        mine = [(key, number) for key, number in self._noted.items() if key[0] is is_back]
        batch = mine[: self._settings.batch_entries_max]
        origin, goal = (self._target, self._source) if is_back else (self._source, self._target)
        there = await self._fetch(origin.store, [one for (_, one), _ in batch])
        embedded = await self._carry(origin, goal, list(there.values()))
        for key, number in batch:
            if self._noted[key] == number:  # else it was noted once more meanwhile
                del self._noted[key]
        return embedded

    async def _carry_page(self) -> int:
        page = await self._source.store.scan(self._mine, self._settings.batch_entries_max, self._cursor)
        rows = [each for each in page.entries if not self._has_wrapped or each.entry.id < self._first]
        embedded = await self._carry(self._source, self._target, rows)
        self.read += len(rows)
        self._cursor = page.next
        if self._cursor is None or (self._has_wrapped and self._cursor >= self._first):
            self._turn()
        return embedded

    def _turn(self) -> None:
        """Go on at the other end, or be done; what was not noted asks for another round."""
        if not self._has_wrapped:
            self._has_wrapped, self._cursor = True, None
        elif self._must_read_again:
            self._has_wrapped, self._cursor, self._is_read, self._must_read_again = False, self._first, False, False
        else:
            self._is_read = True

    async def _carry(self, origin: Side, goal: Side, rows: Sequence[EmbeddedEntry]) -> int:
        there = await self._fetch(goal.store, [each.entry.id for each in rows])
        changed = [each for each in rows if _is_to_carry(each, there)]
        if not changed:
            return 0
        fresh = [each for each in changed if each.entry.id not in there]
        vectors = dict(zip((each.entry.id for each in fresh), await self._embed(goal, fresh), strict=True))
        known = {one: each.embedding for one, each in there.items()}
        await goal.store.add([EmbeddedEntry(each.entry, (known | vectors)[each.entry.id]) for each in changed])
        await self._look_again(origin, goal, changed)
        self.embedded += len(fresh)
        return len(fresh)

    async def _look_again(self, origin: Side, goal: Side, carried: Sequence[EmbeddedEntry]) -> None:
        now = await self._fetch(origin.store, [each.entry.id for each in carried])
        await self._drop(goal.store, [each.entry.id for each in carried if each.entry.id not in now])

    @staticmethod
    async def _embed(goal: Side, rows: Sequence[EmbeddedEntry]) -> Embeddings:
        if not rows or goal.embedder is None:
            return np.empty((0, 0), np.float32)
        return (await goal.embedder.embed([each.entry.prompt for each in rows])).comparable

    @staticmethod
    async def _fetch(store: EntryStore, ids: Sequence[EntryId]) -> Mapping[EntryId, EmbeddedEntry]:
        """Return entries with their embeddings, also those that may not be served: quarantine is carried too."""
        if not ids:
            return {}
        found: dict[EntryId, EmbeddedEntry] = {}
        start: EntryId | None = None
        while True:
            page = await store.scan(Selector(ids=tuple(ids)), len(ids), start)
            found |= {each.entry.id: each for each in page.entries}
            start = page.next
            if start is None:
                return found

    @staticmethod
    async def _drop(store: EntryStore, ids: Sequence[EntryId]) -> None:
        if ids:
            await store.remove(Selector(ids=tuple(ids)), len(ids))


def _is_to_carry(row: EmbeddedEntry, there: Mapping[EntryId, EmbeddedEntry]) -> bool:
    """Return whether the goal lacks it, or has another state of it; an answer that is younger there stays."""
    known = there.get(row.entry.id)
    return known is None or (known.entry != row.entry and known.entry.created_at <= row.entry.created_at)
