"""A service that stores entries one by one and says which were acknowledged, until it is killed."""

from __future__ import annotations

import asyncio
import sys

from semcache.settings import EdgeSettings
from semcache.stores.edge.root import EdgeStores
from tests.fakes.entries import MODEL, row


async def main(folder: str, first: int) -> None:
    stores = EdgeStores(EdgeSettings(folder=folder))
    await stores.start()
    store = await stores.open(MODEL)
    sys.stdout.write(f"{store.shard.pid}\n")
    for number in range(first, first + 100_000):
        await store.add([row(f"p{number}", number % 90)])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
