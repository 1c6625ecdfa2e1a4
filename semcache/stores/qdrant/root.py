"""All collections of a deployment: one per model, aliases, and one for epochs and notes."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from qdrant_client import models as qdrant

from semcache.embedder import ModelIdentity
from semcache.errors import StoreError, StoreRefused, StoreTimeout, StoreUnavailable
from semcache.invalidation import NOTED_MAX, Moment, Noted
from semcache.settings import QdrantSettings
from semcache.stores.qdrant.connection import Connection
from semcache.stores.qdrant.schema import (
    EPOCH_DIMENSIONS,
    EPOCH_INDEXES,
    INDEXES,
    WRITE,
    collection,
    epoch_collection,
    strict_mode,
    to_filter,
)
from semcache.stores.qdrant.store import QdrantStore

logger = logging.getLogger(__name__)

# Namespace of the ids of epochs; made once, at random.
_EPOCHS = uuid.UUID("a6c3f2d5-6f0b-4f6a-8f5e-0d3b8a1f4c77")
# A note may be 150 kB.
_NOTES_PAGE = 16
_PLAIN = re.compile(r"[a-z0-9]")


class QdrantStores:
    """A Qdrant server for every model."""

    def __init__(self, settings: QdrantSettings) -> None:
        self._settings = settings
        self._connection = Connection(settings)
        self._models = f"{settings.collection_prefix}model_"
        self._aliases = f"{settings.collection_prefix}alias_"
        self._epochs = f"{settings.collection_prefix}epochs"
        self._stores: dict[str, QdrantStore] = {}
        self._opening = asyncio.Lock()
        self._is_prepared = False

    async def start(self) -> None:
        """Connect, and make the collection of epochs if there is none; later, where the server is away.

        Raises:
            ConfigError: the settings contradict each other.
            StoreRefused: the server says no.
        """
        self._connection.start()
        try:
            await self._prepare()
        except (StoreTimeout, StoreUnavailable) as error:
            logger.warning("%s; until it is not, lookups are a bypass", error)

    async def open(self, identity: ModelIdentity) -> QdrantStore:
        """Open or make the collection of a model."""
        slug = identity.slug
        async with self._opening:
            await self._prepare()
            if slug not in self._stores:
                name = self._models + slug
                await self._make(name, collection(identity.dimensions, self._settings), INDEXES)
                # One that was made under other settings refuses what these allow.
                changed = self._client.update_collection(
                    name, strict_mode_config=strict_mode(self._settings), timeout=self._bound
                )
                await self._run(changed, is_admin=True)
                await self._upsert([_point(_model(slug), {"model": asdict(identity)})])
                page_max = self._settings.query_entries_max
                self._stores[slug] = QdrantStore(self._connection, name, identity, page_max)
            return self._stores[slug]

    async def models(self) -> Mapping[str, ModelIdentity]:
        """Return the models that have a collection."""
        found = await self._run(self._client.get_collections())
        names = {each.name for each in found.collections}
        ids = [_id(_model(name.removeprefix(self._models))) for name in names if name.startswith(self._models)]
        records = await self._run(self._client.retrieve(self._epochs, ids, with_payload=True)) if ids else []
        identities = [ModelIdentity(**(record.payload or {})["model"]) for record in records]
        return {identity.slug: identity for identity in identities}

    async def drop(self, slug: str) -> None:
        """Remove a model's collection."""
        if slug in (await self.aliases()).values():
            raise StoreRefused(f"{slug} answers for an alias")
        self._stores.pop(slug, None)
        if slug in await self.models():
            await self._delete(self._models + slug)

    async def aliases(self) -> Mapping[str, str]:
        """Return which model answers for each alias."""
        found = await self._run(self._client.get_aliases())
        return {
            unquote(each.alias_name.removeprefix(self._aliases)): each.collection_name.removeprefix(self._models)
            for each in found.aliases
            if each.alias_name.startswith(self._aliases)
        }

    async def serve(self, alias: str, slug: str) -> None:
        """Move an alias."""
        if slug not in await self.models():
            raise StoreRefused(f"{slug} has no store")
        name = self._aliases + quote(alias)
        steps: list[qdrant.AliasOperations] = []
        if alias in await self.aliases():
            steps.append(qdrant.DeleteAliasOperation(delete_alias=qdrant.DeleteAlias(alias_name=name)))
        created = qdrant.CreateAlias(collection_name=self._models + slug, alias_name=name)
        steps.append(qdrant.CreateAliasOperation(create_alias=created))
        # Both steps are one change: nobody sees the alias missing.
        await self._run(self._client.update_collection_aliases(steps, timeout=self._bound), is_admin=True)

    async def moments(self, namespaces: Sequence[str]) -> Sequence[Moment]:
        """Return epochs and marks."""
        kinds = {"epoch": _epoch, "mark": _mark}
        ids = [_id(named(namespace)) for namespace in namespaces for named in kinds.values()]
        records = await self._run(self._client.retrieve(self._epochs, ids, with_payload=True))
        found = {str(record.id): record.payload for record in records}
        return [
            Moment(*(int(found.get(_id(named(namespace)), {}).get(kind, 0)) for kind, named in kinds.items()))
            for namespace in namespaces
        ]

    def known_moments(self, namespaces: Sequence[str]) -> None:
        """Return nothing: another replica may have advanced them."""

    async def advance_epoch(self, namespace: str, now: float) -> int:
        """Advance an epoch."""
        (before,) = await self.moments([namespace])
        await self._advance(_epoch(namespace), {"namespace": namespace}, "epoch", max(before.epoch + 1, _millis(now)))
        (after,) = await self.moments([namespace])
        return after.epoch

    async def invalidate(self, namespace: str, subjects: Collection[str], now: float) -> int:
        """Advance the mark, and write a point for each subject."""
        (before,) = await self.moments([namespace])
        mark = max(before.mark + 1, _millis(now))
        await self._advance(_mark(namespace), {"namespace": namespace}, "mark", mark)
        points = [
            _point(
                f"invalid\n{namespace}\n{mark}\n{subject}", {"invalid": namespace, "noted": mark, "subject": subject}
            )
            for subject in subjects
        ]
        await self._upsert(points)
        await self._forget(namespace)
        return mark

    async def invalidations(self, namespace: str, after: int) -> Sequence[Noted]:
        """Return what was noted above a mark."""
        found: list[Noted] = []
        chosen, start = to_filter([("is", "invalid", namespace), ("gt", "noted", after)]), None
        while len(found) < NOTED_MAX:
            limit = min(self._settings.query_entries_max, NOTED_MAX - len(found))
            records, start = await self._run(self._client.scroll(self._epochs, chosen, limit, offset=start))
            found += [Noted(int(each.payload["noted"]), each.payload["subject"]) for each in records]
            if start is None:
                break
        return found

    async def notes(self, topic: str) -> Mapping[str, str]:
        """Return notes."""
        found: dict[str, str] = {}
        chosen, start = to_filter([("is", "topic", topic)]), None
        while True:
            scroll = self._client.scroll(self._epochs, chosen, _NOTES_PAGE, offset=start, with_payload=True)
            records, start = await self._run(scroll)
            found |= {record.payload["name"]: record.payload["text"] for record in records}
            if start is None:
                return found

    async def note(self, topic: str, name: str, text: str) -> None:
        """Write a note."""
        await self._upsert([_point(f"note\n{topic}\n{name}", {"topic": topic, "name": name, "text": text})])

    async def erase(self) -> None:
        """Remove every collection and alias of this deployment: what its prefix names, and nothing else."""
        for slug in await self.models():
            await self._delete(self._models + slug)
        await self._delete(self._epochs)

    async def stop(self) -> None:
        """Close the connection."""
        self._stores.clear()
        await self._connection.stop()

    @property
    def _client(self) -> Any:  # noqa: ANN401 - its own types say Any in the places that matter
        return self._connection.client

    async def _run(self, call: Any, *, is_admin: bool = False) -> Any:  # noqa: ANN401 - as the call
        return await self._connection.run(call, self._settings.admin_timeout if is_admin else None)

    async def _prepare(self) -> None:
        if not self._is_prepared:
            await self._make(self._epochs, epoch_collection(self._settings), EPOCH_INDEXES)
            self._is_prepared = True

    async def _make(self, name: str, arguments: Mapping[str, Any], indexes: Mapping[str, Any]) -> None:
        """Make a collection and its indexes; also where another replica is doing the same, or died halfway."""
        if not await self._run(self._client.collection_exists(name)):
            try:
                await self._run(self._client.create_collection(name, timeout=self._bound, **arguments), is_admin=True)
            except StoreError:
                # Another replica may have been first.
                if not await self._run(self._client.collection_exists(name)):
                    raise
        for field, schema in indexes.items():
            index = self._client.create_payload_index(name, field, field_schema=schema, wait=True, timeout=self._bound)
            await self._run(index, is_admin=True)

    async def _upsert(self, points: Sequence[qdrant.PointStruct], where: qdrant.Filter | None = None) -> None:
        """Write down what belongs to no model's collection."""
        await self._run(self._client.upsert(self._epochs, points, **WRITE, update_filter=where))

    async def _advance(self, name: str, payload: Mapping[str, Any], field: str, value: int) -> None:
        """Have a number be at least this: of two replicas that advance it at once, the higher one stays."""
        # A server before 1.16 does not know this condition, and the later write of the two stays.
        await self._upsert([_point(name, {**payload, field: value})], to_filter([("lt", field, value)]))

    async def _forget(self, namespace: str) -> None:
        """Remove the oldest invalidations beyond those that are remembered."""
        mine = to_filter([("is", "invalid", namespace)])
        counted = await self._run(self._client.count(self._epochs, count_filter=mine, exact=True))
        if (beyond := counted.count - NOTED_MAX) > 0:
            order = qdrant.OrderBy(key="noted", direction=qdrant.Direction.ASC)
            limit = min(beyond, self._settings.query_entries_max)
            oldest, _ = await self._run(self._client.scroll(self._epochs, mine, limit, order_by=order))
            await self._run(self._client.delete(self._epochs, [each.id for each in oldest], **WRITE))

    async def _delete(self, name: str) -> None:
        await self._run(self._client.delete_collection(name, timeout=self._bound), is_admin=True)

    @property
    def _bound(self) -> int:
        return math.ceil(self._settings.admin_timeout)


def _millis(now: float) -> int:
    return int(now * 1000)


def _epoch(namespace: str) -> str:
    return namespace


# No namespace, slug or topic has a line break in it: names of one kind are not of another.
def _mark(namespace: str) -> str:
    return f"mark\n{namespace}"


def _model(slug: str) -> str:
    return f"model\n{slug}"


def _id(name: str) -> str:
    return str(uuid.uuid5(_EPOCHS, name))


def _point(name: str, payload: Mapping[str, Any]) -> qdrant.PointStruct:
    return qdrant.PointStruct(id=_id(name), vector=[1.0] * EPOCH_DIMENSIONS, payload=dict(payload))


def quote(alias: str) -> str:
    """Return an alias in letters that names may have; no two share one, also where case does not count."""
    return "".join(each if _PLAIN.fullmatch(each) else f"_{each.encode().hex()}_" for each in alias)


def unquote(name: str) -> str:
    """Return the alias that was quoted."""
    parts = name.split("_")
    return "".join(bytes.fromhex(part).decode() if index % 2 else part for index, part in enumerate(parts))
