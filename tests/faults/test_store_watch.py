"""Health that follows Redis, where it was asked to (REDIS_HEALTH_CHECK_ACTIVE_CONNECTION)."""

from __future__ import annotations

import asyncio

from ratelimit.parts import StoreWatch
from ratelimit.stores.redis import RedisStore
from serving.clock import SystemClock
from serving.health import Health
from serving.metrics import Registry
from tests.contract.redis_stores import settings
from tests.fakes.tcp_proxy import Fault, TcpProxy


async def until_serving(health: Health, *, is_so: bool) -> None:
    async with asyncio.timeout(20):
        async for is_serving in health.changes():
            if is_serving is is_so:
                return


async def test_health_goes_down_and_up_with_redis(proxy: TcpProxy) -> None:
    health = Health()
    redis = settings(proxy.address, breaker_failures=1, breaker_probe_interval=0.02)
    watch = StoreWatch(RedisStore(redis, None, Registry(), SystemClock()), health, None, follows=True)
    before = health.is_serving
    await watch.start()
    started = health.is_serving

    await proxy.turn(Fault.REFUSE)
    await until_serving(health, is_so=False)
    await proxy.turn(Fault.PASS)
    await until_serving(health, is_so=True)

    await watch.stop()
    assert (before, started) == (False, True)
