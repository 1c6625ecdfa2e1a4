"""Entries from one deployment to another: all live ones of a namespace, with their embeddings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from semcache.backends import Backend, Backends
from semcache.entry import EmbeddedEntry, Embedding, Entry, State
from semcache.errors import StoreUnavailable
from semcache.namespaces import Namespace
from semcache.store import EntryStores, Selector

# Entries read at a time: lookups come between.
_PAGE_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class Carried:
    """An entry that comes from elsewhere, with the embedding it had there."""

    entry: Entry
    embedding: Embedding


@dataclass(frozen=True, slots=True)
class Imported:
    """What was taken."""

    imported: int = 0
    expired: int = 0
    embedded: int = 0

    def __add__(self, other: Imported) -> Imported:
        return Imported(self.imported + other.imported, self.expired + other.expired, self.embedded + other.embedded)


class Transfer:
    """Reads and takes entries."""

    def __init__(self, stores: EntryStores, backends: Backends) -> None:
        self._stores = stores
        self._backends = backends

    def model(self, namespace: Namespace) -> str:
        """Return the slug of the model whose embeddings are exported.

        Raises:
            StoreUnavailable: it is not loaded.
        """
        return self._backend(namespace).model

    async def export(self, namespace: Namespace, tenant: str | None, now: float) -> AsyncIterator[EmbeddedEntry]:
        """Yield every entry that may still be served, and those in quarantine.

        Raises:
            StoreError: it cannot be read.
        """
        store, selector = self._backend(namespace).store, Selector(namespace=namespace.name, tenant=tenant)
        (moment,) = await self._stores.moments([namespace.name])
        page = await store.scan(selector, _PAGE_ENTRIES)
        while True:
            for row in page.entries:
                if (
                    row.entry.epoch == moment.epoch
                    and row.entry.expires_at > now
                    and row.entry.record.state is not State.PENDING
                ):
                    yield row
            if page.next is None:
                return
            page = await store.scan(selector, _PAGE_ENTRIES, page.next)

    async def take(self, namespace: Namespace, model: str, carried: Sequence[Carried], now: float) -> Imported:
        """Take entries; those of another model are embedded anew.

        Raises:
            StoreError: it may be that none was taken.
            EmbedError: none was taken.
        """
        backend = self._backend(namespace)
        (moment,) = await self._stores.moments([namespace.name])
        live = [each for each in carried if each.entry.expires_at > now]
        rows, embedded = await self._embed(backend, model, live)
        await backend.store.add(
            [replace(row, entry=replace(row.entry, namespace=namespace.name, epoch=moment.epoch)) for row in rows]
        )
        return Imported(len(live), len(carried) - len(live), embedded)

    async def _embed(
        self, backend: Backend, model: str, live: Sequence[Carried]
    ) -> tuple[Sequence[EmbeddedEntry], int]:
        dimensions = backend.store.identity.dimensions
        foreign = [each.entry.prompt for each in live if model != backend.model or len(each.embedding) != dimensions]
        vectors = iter(await backend.embed(foreign, np.inf)) if foreign else iter(())
        rows = []
        for each in live:
            is_foreign = model != backend.model or len(each.embedding) != dimensions
            rows.append(EmbeddedEntry(each.entry, next(vectors).embedding if is_foreign else each.embedding))
        return rows, len(foreign)

    def _backend(self, namespace: Namespace) -> Backend:
        backend = self._backends.of(namespace)
        if backend is None:
            raise StoreUnavailable("the model of the namespace is not loaded")
        return backend
