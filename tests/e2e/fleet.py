"""A service with several processes on one port, and who asks it over connections of their own."""

from __future__ import annotations

import re

import aiohttp
import grpc.aio

from protos.interop.rls.v1 import rls_pb2
from tests.e2e.conftest import StartService
from tests.fakes.ports import free_port
from tests.fakes.processes import RatelimitProcess, RedisProcess

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
RULES = "domain: d\ndescriptors:\n  - {key: a, rate_limit: {unit: day, requests_per_unit: 1000000}}\n"


class Fleet:
    """A service with two workers, and its debug pages."""

    def __init__(self, redis: RedisProcess, start_service: StartService, rules: str = RULES) -> None:
        self._redis = redis
        self._rules = rules
        self._start_service = start_service
        self._debug_port = free_port()
        self.service: RatelimitProcess

    async def start(self, port: int = 0, **environment: str) -> None:
        wanted = {
            "BACKEND_TYPE": "redis",
            "REDIS_SOCKET_TYPE": "unix",
            "REDIS_URL": str(self._redis.path),
            "DEBUG_PORT": str(self._debug_port),
            "WORKERS": "2",
            **environment,
        }
        self.service = await self._start_service(self._rules, wanted, port)
        await self.until_ready(2)

    async def page(self, path: str) -> str:
        url = f"http://127.0.0.1:{self._debug_port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.text()

    async def pids(self) -> list[int]:
        """Return the processes that are ready."""
        lines = (await self.page("/workers")).splitlines()
        return [int(line.split()[1]) for line in lines if line.endswith(" ready")]

    async def until_ready(self, count: int, without: int = 0) -> None:
        async def is_so() -> bool:
            try:
                pids = await self.pids()
            except aiohttp.ClientError:
                return False
            return len(pids) == count and without not in pids

        await self.service.wait_until(is_so)

    async def calls_counted(self) -> int:
        """Return what /metrics tells for all workers together."""
        series = r'^ratelimit_service_total_requests\{grpc_method="ShouldRateLimit"\} (\d+)$'
        found = re.search(series, await self.page("/metrics"), re.MULTILINE)
        return int(found[1]) if found else 0


async def ask(target: str, calls: int = 1) -> list[int]:
    """Send calls over as many connections, and return what is left after each."""
    return [answer.statuses[0].limit_remaining for answer in await answers(target, calls)]


async def answers(target: str, calls: int) -> list[rls_pb2.RateLimitResponse]:
    """Send calls over as many connections, so that every process has some of them."""
    message = rls_pb2.RateLimitRequest(domain="d")
    message.descriptors.add().entries.add(key="a", value="")
    given = []
    for _ in range(calls):
        async with grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            reply = await channel.unary_unary(METHOD)(message.SerializeToString(), timeout=10, wait_for_ready=True)
        given.append(rls_pb2.RateLimitResponse.FromString(reply))
    return given
