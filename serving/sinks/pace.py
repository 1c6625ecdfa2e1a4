"""Long readings in small pieces: calls go on being answered between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

_Item = TypeVar("_Item")

# 10,000 series at some 5 µs each would hold up every call for 50 ms, and Envoy waits 20 ms. A piece takes 0.5 ms.
PIECE = 100


async def paced(items: Iterable[_Item]) -> AsyncIterator[_Item]:
    """Yield every item, and let the event loop do other things after each `PIECE` of them."""
    for count, item in enumerate(items, 1):
        yield item
        if count % PIECE == 0:
            await asyncio.sleep(0)
