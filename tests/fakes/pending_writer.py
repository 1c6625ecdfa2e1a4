"""A service that stores an answer and stands still between adding and publishing it, until it is killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import cast

from pydantic import SecretStr

from semcache.entry import Entry
from semcache.settings import EdgeSettings, QdrantSettings
from semcache.store import EntryStores
from semcache.stores.edge.root import EdgeStores
from semcache.stores.edge.store import EdgeStore
from semcache.stores.qdrant.root import QdrantStores
from tests.fakes.caches import make_world
from tests.fakes.store import FakeStores


def make_stores(where: str) -> EntryStores:
    """Return the stores of a folder, or of a server by its port."""
    if where.isdigit():
        return QdrantStores(QdrantSettings(url=SecretStr("http://127.0.0.1:6333"), grpc_port=int(where), timeout=30.0))
    return EdgeStores(EdgeSettings(folder=where, timeout=30.0))


async def main(where: str, prompt: str) -> None:
    stores = make_stores(where)
    await stores.start()
    world = await make_world(cast("FakeStores", stores))

    async def stand_still(_: Sequence[Entry]) -> None:
        # The service, and the engine that has the folder where there is one.
        pids = [os.getpid(), *([world.store.shard.pid] if isinstance(world.store, EdgeStore) else [])]
        sys.stdout.write(f"{' '.join(map(str, pids))}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    world.store.publish = stand_still  # type: ignore[method-assign]
    await world.store_one(prompt)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
