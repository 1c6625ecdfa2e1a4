"""One model's entries in a Qdrant collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qdrant_client import models

from semcache.embedder import ModelIdentity
from semcache.entry import EmbeddedEntry, Entry, EntryId, Record
from semcache.errors import StoreRefused
from semcache.store import Candidate, Page, Question, Selector
from semcache.stores.conditions import Condition, of_amended, of_published, of_question, of_selector
from semcache.stores.payload import CANDIDATE_FIELDS, record_to_payload, to_candidate, to_entry, to_payload
from semcache.stores.qdrant.connection import Connection
from semcache.stores.qdrant.schema import SEARCH_WIDTH, WRITE, to_filter
from semcache.stores.vectors import from_list

# Vectors are compared as int8 first; this many times more are compared again as they are.
_OVERSAMPLING = 2.0


class QdrantStore:
    """Turns the port's verbs into the client's."""

    def __init__(self, connection: Connection, collection: str, identity: ModelIdentity, page_max: int) -> None:
        self._connection = connection
        self._collection = collection
        self._identity = identity
        self._page_max = page_max

    @property
    def identity(self) -> ModelIdentity:
        """Model whose vectors it holds."""
        return self._identity

    @property
    def is_healthy(self) -> bool:
        """False after a call that found no server, until one finds it."""
        return self._connection.is_healthy

    async def get(self, ids: Sequence[EntryId], now: float) -> Sequence[Entry | None]:
        """Return live entries by id."""
        if not ids:  # here and below: a server may refuse to do nothing
            return []
        records = await self._connection.run(self._connection.client.retrieve(self._collection, list(ids)))
        entries = {str(record.id): to_entry(str(record.id), record.payload or {}) for record in records}
        found = [entries.get(one) for one in ids]
        return [entry if entry is not None and entry.is_live(now) else None for entry in found]

    async def nearest(self, questions: Sequence[Question], now: float) -> Sequence[Sequence[Candidate]]:
        """Search for all questions at once."""
        if not questions:
            return []
        rescore = models.QuantizationSearchParams(rescore=True, oversampling=_OVERSAMPLING)
        requests = [
            models.QueryRequest(
                query=question.embedding.tolist(),
                filter=to_filter(of_question(question, now)),
                limit=min(question.limit, self._page_max),
                score_threshold=question.similarity_min,
                # Not whole: all of each candidate would travel for the one that may be served.
                with_payload=CANDIDATE_FIELDS,
                params=models.SearchParams(hnsw_ef=SEARCH_WIDTH, quantization=rescore),
            )
            for question in questions
        ]
        answers = await self._connection.run(self._connection.client.query_batch_points(self._collection, requests))
        return [
            [to_candidate(str(point.id), point.score, point.payload or {}) for point in answer.points]
            for answer in answers
        ]

    async def add(self, entries: Sequence[EmbeddedEntry]) -> None:
        """Store entries."""
        if not entries:
            return
        # Checked here: a server may have stored some of a batch before it finds the one that is wrong.
        if any(len(each.embedding) != self._identity.dimensions for each in entries):
            raise StoreRefused(f"{self._identity.name} has embeddings of {self._identity.dimensions} dimensions")
        points = [
            models.PointStruct(id=each.entry.id, vector=each.embedding.tolist(), payload=to_payload(each.entry))
            for each in entries
        ]
        await self._connection.run(self._connection.client.upsert(self._collection, points, **WRITE))

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Have pending entries be served."""
        await self._set([(of_published(each), each.record) for each in entries])

    async def amend(self, records: Mapping[EntryId, Record]) -> None:
        """Replace records."""
        await self._set([(of_amended(one, record), record) for one, record in records.items()])

    async def _set(self, records: Sequence[tuple[Sequence[Condition], Record]]) -> None:
        if not records:
            return
        # By filter and not by id: an id that is gone fails the whole batch.
        changes = [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(payload=record_to_payload(record), filter=to_filter(conditions))
            )
            for conditions, record in records
        ]
        await self._connection.run(self._connection.client.batch_update_points(self._collection, changes, **WRITE))

    async def remove(self, selector: Selector, limit: int) -> int:
        """Remove selected entries."""
        return await self._delete(of_selector(selector), limit)

    async def evict(self, namespace: str, limit: int) -> int:
        """Remove those that are worth least."""
        order = models.OrderBy(key="worth", direction=models.Direction.ASC)
        return await self._delete([("is", "ns", namespace)], limit, order)

    async def compact(self) -> bool:
        """Leave it to the server, whose optimizer rewrites segments by how much of them is gone."""
        return False

    async def removed_at(self) -> float | None:
        """Return nothing: the server does not say."""
        return None

    async def count(self, selector: Selector) -> int:
        """Count selected entries."""
        client, selected = self._connection.client, to_filter(of_selector(selector))
        answer = await self._connection.run(client.count(self._collection, count_filter=selected, exact=True))
        return answer.count

    async def scan(self, selector: Selector, limit: int, start: EntryId | None = None) -> Page:
        """Return a page."""
        records, following = await self._connection.run(
            self._connection.client.scroll(
                self._collection,
                scroll_filter=to_filter(of_selector(selector)),
                limit=min(limit, self._page_max),
                offset=start,
                with_payload=True,
                with_vectors=True,
            )
        )
        entries = [
            EmbeddedEntry(to_entry(str(record.id), record.payload or {}), from_list(record.vector))
            for record in records
        ]
        return Page(entries, EntryId(str(following)) if following is not None else None)

    async def _delete(self, conditions: Sequence[Condition], limit: int, order: models.OrderBy | None = None) -> int:
        gone = 0
        while gone < limit:
            wanted = min(limit - gone, self._page_max)
            found = await self._delete_page(conditions, wanted, order)
            gone += found
            if found < wanted:
                break
        return gone

    async def _delete_page(self, conditions: Sequence[Condition], limit: int, order: models.OrderBy | None) -> int:
        client, selected = self._connection.client, to_filter(conditions)
        records, _ = await self._connection.run(
            client.scroll(self._collection, scroll_filter=selected, limit=limit, order_by=order, with_payload=False)
        )
        ids = [str(record.id) for record in records]
        if ids:
            # The conditions again: an entry that was stored anew in between is not selected any more.
            doomed = models.FilterSelector(filter=to_filter([*conditions, ("in", "id", ids)]))
            await self._connection.run(client.delete(self._collection, doomed, **WRITE))
        return len(ids)
