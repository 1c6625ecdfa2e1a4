"""Stores over any Redis, for as long as a test needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from ratelimit.store import Charge, Ledger
from ratelimit.stores.redis import RedisStore
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.settings import PerSecondRedisSettings, RedisSettings

CLOCK = SystemClock()
RECOVERY_SECONDS = 20.0


def settings(url: object, **options: Any) -> RedisSettings:
    return RedisSettings(
        url=SecretStr(str(url)), **{"socket_type": "tcp", "startup_max_elapsed_time": 0.001, **options}
    )


@asynccontextmanager
async def opened(
    redis: RedisSettings, per_second: PerSecondRedisSettings | None = None, *, registry: Registry | None = None
) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis, per_second, registry or Registry(), CLOCK)
    try:
        await store.start()
        yield store
    finally:
        await store.stop()


async def count(store: RedisStore, *charges: Charge, seconds: float = 10.0) -> object:
    ledger = Ledger(charges or [Charge("k", 1, 10, 100)], CLOCK.steady() + seconds)
    return (await store.charge([ledger], 0.0))[0]


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(RECOVERY_SECONDS):
        while not await is_so():  # noqa: ASYNC110 - conditions of other processes
            await asyncio.sleep(0.01)


async def counts(store: RedisStore, key: str = "k") -> bool:
    return isinstance(await count(store, Charge(key, 1, 10, 100), seconds=0.3), list)
