"""A store of Edge with a few entries, in vectors so wide that these are enough for an index."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from semcache.embedder import ModelIdentity
from semcache.entry import EmbeddedEntry, EntryId
from semcache.settings import EdgeSettings
from semcache.stores.edge.root import EdgeStores
from semcache.stores.edge.store import EdgeStore
from tests.fakes.entries import entry

WIDE = ModelIdentity("test/wide", "r1", "fp32", 2_048)
COUNT = 300


def rows(count: int) -> Sequence[EmbeddedEntry]:
    dice = np.random.default_rng(1)
    vectors = dice.normal(size=(count, WIDE.dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [EmbeddedEntry(entry(f"p{number}"), vector) for number, vector in enumerate(vectors)]


def ids(count: int) -> Sequence[EntryId]:
    return [entry(f"p{number}").id for number in range(count)]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[EdgeStore]:
    # Upkeep runs when it is told to.
    stores = EdgeStores(EdgeSettings(folder=str(folder), flush_interval=1e6, unindexed_max=10, timeout=30.0))
    await stores.start()
    try:
        yield await stores.open(WIDE)
    finally:
        await stores.stop()
