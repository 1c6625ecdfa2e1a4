"""One model's entries in Qdrant Edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from semcache.embedder import ModelIdentity
from semcache.entry import EmbeddedEntry, Entry, EntryId, Record
from semcache.errors import StoreRefused
from semcache.settings import EdgeSettings
from semcache.store import Candidate, Page, Question, Selector
from semcache.stores.conditions import of_amended, of_published, of_question, of_selector
from semcache.stores.edge.shard import Shard
from semcache.stores.payload import CANDIDATE_FIELDS, record_to_payload, to_candidate, to_entry, to_payload
from semcache.stores.vectors import from_bytes, to_bytes

# Entries written at a time: lookups come between.
_ADD_ENTRIES_MAX = 64


class EdgeStore:
    """Turns the port's verbs into the engine's."""

    def __init__(self, folder: Path, identity: ModelIdentity, settings: EdgeSettings) -> None:
        self._identity = identity
        self.shard = Shard(folder, identity.dimensions, settings)

    @property
    def identity(self) -> ModelIdentity:
        """Model whose vectors it holds."""
        return self._identity

    @property
    def is_healthy(self) -> bool:
        """False while there is no engine."""
        return self.shard.is_healthy

    async def get(self, ids: Sequence[EntryId], now: float) -> Sequence[Entry | None]:
        """Return live entries by id."""
        asked = [one for one in ids if self.shard.may_have(one)]
        found = dict(zip(asked, await self.shard.call("get", asked), strict=True)) if asked else {}
        entries = [to_entry(one, payload) if (payload := found.get(one)) else None for one in ids]
        return [entry if entry is not None and entry.is_live(now) else None for entry in entries]

    async def nearest(self, questions: Sequence[Question], now: float) -> Sequence[Sequence[Candidate]]:
        """Search for all questions at once."""
        searches = [
            (
                to_bytes(question.embedding),
                of_question(question, now),
                question.limit,
                question.similarity_min,
                question.whole_from,
            )
            for question in questions
        ]
        found = await self.shard.call("nearest", searches, CANDIDATE_FIELDS)
        return [[to_candidate(*point) for point in points] for points in found]

    async def add(self, entries: Sequence[EmbeddedEntry]) -> None:
        """Store entries."""
        # Checked here: the engine writes to its log before it looks.
        if any(len(each.embedding) != self._identity.dimensions for each in entries):
            raise StoreRefused(f"{self._identity.name} has embeddings of {self._identity.dimensions} dimensions")
        points = [(each.entry.id, to_bytes(each.embedding), to_payload(each.entry)) for each in entries]
        for start in range(0, len(points), _ADD_ENTRIES_MAX):
            part = points[start : start + _ADD_ENTRIES_MAX]
            await self.shard.write([point[0] for point in part], "add", part)

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Have pending entries be served."""
        changes = [(each.id, of_published(each), record_to_payload(each.record)) for each in entries]
        await self.shard.write([each.id for each in entries], "amend", changes)

    async def amend(self, records: Mapping[EntryId, Record]) -> None:
        """Replace records."""
        changes = [(one, of_amended(one, record), record_to_payload(record)) for one, record in records.items()]
        await self.shard.write(records, "amend", changes)

    async def remove(self, selector: Selector, limit: int) -> int:
        """Remove selected entries."""
        return await self.shard.delete("remove", of_selector(selector), limit)

    async def evict(self, namespace: str, limit: int) -> int:
        """Remove those that are worth least."""
        return await self.shard.delete("evict", namespace, limit)

    async def compact(self) -> bool:
        """Copy what is there to a new folder and remove the old one; the index is built on the way."""
        await self.shard.erase()
        return True

    async def removed_at(self) -> float | None:
        """Return since when there is text in files of what was removed."""
        return await self.shard.removed_at()

    async def count(self, selector: Selector) -> int:
        """Count selected entries."""
        return int(await self.shard.call("count", of_selector(selector)))

    async def scan(self, selector: Selector, limit: int, start: EntryId | None = None) -> Page:
        """Return a page."""
        points, following = await self.shard.call("scan", of_selector(selector), limit, start)
        entries = [EmbeddedEntry(to_entry(one, payload), from_bytes(vector)) for one, vector, payload in points]
        return Page(entries, EntryId(following) if following else None)
