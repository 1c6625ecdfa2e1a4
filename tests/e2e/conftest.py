"""An upstream, services and a gateway, each stopped when its test ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest

from tests.fakes.envoy import PATIENT, Gateway
from tests.fakes.processes import RatelimitProcess, RedisProcess
from weir.demo.upstream import Upstream

CHAT = {"model": "small", "max_tokens": 10, "messages": [{"role": "user", "content": "hello there"}]}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    redis = RedisProcess(tmp_path / "redis")
    await redis.start()
    yield redis
    redis.go_on()
    await redis.stop()


class StartService(Protocol):
    async def __call__(
        self, rules: str, environment: Mapping[str, str] | None = None, port: int = 0
    ) -> RatelimitProcess: ...


@pytest.fixture
async def start_service(tmp_path: Path) -> AsyncIterator[StartService]:
    services: list[RatelimitProcess] = []

    async def start(rules: str, environment: Mapping[str, str] | None = None, port: int = 0) -> RatelimitProcess:
        service = RatelimitProcess(tmp_path / f"service-{len(services)}", rules, environment or {}, port)
        services.append(service)
        await service.start()
        return service

    yield start
    await asyncio.gather(*(service.stop() for service in services))


StartGateway = Callable[[str, Mapping[str, str]], Awaitable[Gateway]]


@pytest.fixture
async def start_gateway(tmp_path: Path, upstream: Upstream) -> AsyncIterator[StartGateway]:
    gateways: list[Gateway] = []

    async def start(configuration: str, places: Mapping[str, str]) -> Gateway:
        places = {**PATIENT, "upstream:8000": upstream.address, **places}
        gateways.append(Gateway(configuration, places, tmp_path))
        await gateways[-1].start()
        return gateways[-1]

    yield start
    for gateway in gateways:
        await gateway.stop()


class Ask(Protocol):
    async def __call__(self, gateway: Gateway, user: str = "alice", **chat: object) -> aiohttp.ClientResponse: ...


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Send a chat through a gateway and read the whole answer."""
    async with aiohttp.ClientSession() as session:

        async def send(gateway: Gateway, user: str = "alice", **chat: object) -> aiohttp.ClientResponse:
            url = f"{gateway.url}/v1/chat/completions"
            async with session.post(url, json=CHAT | chat, headers={"x-user": user}) as response:
                await response.read()
                return response

        yield send
