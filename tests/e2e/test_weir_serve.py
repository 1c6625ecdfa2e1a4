"""`weir serve`: both services in one process, as an operator starts and stops it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from semcache.client import CacheClient
from tests.fakes.envoy import eventually
from tests.fakes.models import model_folder
from tests.fakes.ports import free_port
from tests.fakes.processes import HEALTH_TIMEOUT_SECONDS, RatelimitProcess
from weir.client import Client

RULES = """
domain: llm
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 300 }
"""
NAMESPACES = """
namespaces:
  - {name: support, explore: 0, threshold: 0.9, callers: [{anyone: true, roles: [administer]}]}
"""
ALICE = (("user", "alice"),)
PROMPT, NEAR = "How do I reset my password?", "How can I reset my password?"
CACHE = "weir.semcache.v1.SemanticCacheService"
STATUS = health_pb2.HealthCheckResponse


class Both(RatelimitProcess):
    """`python -m weir serve`."""

    def __init__(self, folder: Path) -> None:
        self.cache_port = free_port()
        (folder / "namespaces.yaml").write_text(NAMESPACES)
        environment = {
            "SEMCACHE_NAMESPACES_PATH": str(folder / "namespaces.yaml"),
            "SEMCACHE_EDGE_FOLDER": str(folder / "edge"),
            "SEMCACHE_EMBEDDER_MODEL": str(model_folder()),
            "SEMCACHE_GRPC_HOST": "127.0.0.1",
            "SEMCACHE_GRPC_PORT": str(self.cache_port),
            "SEMCACHE_HOST": "127.0.0.1",
            "SEMCACHE_PORT": "0",
            "SEMCACHE_LOOKUP_TIMEOUT": "20s",
            "SEMCACHE_LOOKUP_TIME": "20s",
            "DRAIN_DELAY": "60s",
        }
        super().__init__(folder, RULES, environment)
        self.name, self.command = "weir serve", [sys.executable, "-m", "weir", "serve"]

    async def start(self) -> None:
        await super().start()
        await self.wait_until(self._is_cache_serving)

    async def statuses(self) -> list[str]:
        """Return the health of the two services as their own callers see it."""
        ports = {"ratelimit": self.port, CACHE: self.cache_port}
        return [STATUS.ServingStatus.Name(await _health(port, service)) for service, port in ports.items()]

    async def _is_cache_serving(self) -> bool:
        try:
            return await _health(self.cache_port, CACHE) == STATUS.SERVING
        except grpc.aio.AioRpcError:
            return False


async def _health(port: int, service: str) -> STATUS.ServingStatus.ValueType:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=HEALTH_TIMEOUT_SECONDS)
    return answer.status  # type: ignore[no-any-return] # untyped stubs


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    both = Both(tmp_path)
    await both.start()
    yield both
    both.process.send_signal(signal.SIGKILL)
    await both.stop()


def cache_of(both: Both) -> CacheClient:
    return CacheClient(f"127.0.0.1:{both.cache_port}", namespace="support", timeout_seconds=30, tenant="acme")


async def test_both_answer_drain_together_and_leave_everything_to_who_starts_next(both: Both) -> None:
    async with Client(both.target) as limits, cache_of(both) as cache:
        before = await limits.ask("llm", [ALICE], 7)
        await cache.store(PROMPT, "By mail.")
        found = await cache.lookup(NEAR)

        both.process.send_signal(signal.SIGTERM)
        await eventually(lambda: _are(both, ["NOT_SERVING", "NOT_SERVING"]))
        draining = await limits.ask("llm", [ALICE]), await cache.lookup(PROMPT)
    both.process.send_signal(signal.SIGTERM)
    status = await both.process.wait()
    await both.start()
    async with cache_of(both) as cache:
        again = await cache.lookup(PROMPT)

    assert (before.is_over, before.answers[0].remaining, found.outcome) == (False, 293, "semantic")
    assert (draining[0].answers[0].remaining, draining[1].outcome) == (293, "exact")
    assert (status, "Traceback" in both.log.read_text(), again.outcome) == (0, False, "exact")
    assert "SEMCACHE_LOOKUP_TIME " in both.log.read_text()


async def _are(both: Both, expected: list[str]) -> bool:
    return await both.statuses() == expected


async def test_what_was_acknowledged_is_there_however_often_it_is_killed(both: Both) -> None:
    acknowledged: list[str] = []
    for killing in range(3):
        enough = len(acknowledged) + 10
        async with cache_of(both) as cache:
            offering = [asyncio.create_task(_offer(cache, f"{killing}-{n}", acknowledged)) for n in range(4)]
            await eventually(lambda enough=enough: _has(acknowledged, enough))  # type: ignore[misc]
            both.process.kill()
            await asyncio.gather(*offering, both.process.wait())
        await both.start()

    async with cache_of(both) as cache:
        found = [await cache.lookup(prompt, exact_only=True) for prompt in acknowledged]

    assert len(acknowledged) >= 30
    assert {each.outcome for each in found} == {"exact"}


async def _offer(cache: CacheClient, name: str, acknowledged: list[str]) -> None:
    """Offer one answer after the other, until nobody takes them."""
    for number in count():
        prompt = f"{PROMPT} Of account {name}-{number}?"
        if not (await cache.store(prompt, "By mail.")).is_stored:
            return
        acknowledged.append(prompt)


async def _has(acknowledged: list[str], number: int) -> bool:
    return len(acknowledged) >= number
