"""Two replicas on one Redis: they count together, and what one gives back the other's local cache forgets."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc.aio

from protos.interop.rls.v1 import rls_pb2
from tests.e2e.conftest import StartService
from tests.fakes.envoy import eventually
from tests.fakes.processes import RatelimitProcess, RedisProcess
from weir.client import SHOULD_RATE_LIMIT

RULES = """
domain: llm
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 10 }
"""
OK, OVER = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT


async def pair(start_service: StartService, redis: RedisProcess, **more: str) -> list[RatelimitProcess]:
    environment = {"BACKEND_TYPE": "redis", "REDIS_URL": str(redis.path), **more}
    return list(await asyncio.gather(*(start_service(RULES, environment) for _ in range(2))))


async def ask(service: RatelimitProcess, hits: int, *, is_refund: bool = False) -> int:
    message = rls_pb2.RateLimitRequest(domain="llm")
    descriptor = message.descriptors.add(is_negative_hits=is_refund)
    descriptor.entries.add(key="user", value="alice")
    descriptor.hits_addend.value = hits
    async with grpc.aio.insecure_channel(service.target) as channel:
        reply: bytes = await channel.unary_unary(SHOULD_RATE_LIMIT)(message.SerializeToString())
    return rls_pb2.RateLimitResponse.FromString(reply).overall_code


async def test_as_many_pass_both_as_the_limit_says(start_service: StartService, redis: RedisProcess) -> None:
    services = await pair(start_service, redis)

    codes = await asyncio.gather(*(ask(services[number % 2], 1) for number in range(100)))

    assert Counter(codes) == {OK: 10, OVER: 90}


async def test_a_refund_at_one_replica_opens_the_other(start_service: StartService, redis: RedisProcess) -> None:
    first, second = await pair(start_service, redis, LOCAL_CACHE_SIZE_IN_BYTES="100000")
    over = await ask(first, 11)
    await ask(second, 6, is_refund=True)

    async def is_open() -> bool:
        return await ask(first, 0) == OK

    await eventually(is_open)

    assert (over, await ask(first, 5), await ask(first, 1)) == (OVER, OK, OVER)
