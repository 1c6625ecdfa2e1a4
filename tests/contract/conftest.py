"""Starts what the stores count in: once for all tests of a process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.redis import RedisStore
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.redis import slot_of
from serving.settings import RedisSettings
from tests.contract.harness import CLUSTER, MEMORY, NOW, PLAIN, Harness, Kind
from tests.fakes.redis_servers import RedisCluster, RedisServer, running, running_cluster


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    made = make_harness(request.param, request)
    await made.store.start()
    yield made
    await made.store.stop()


def make_harness(kind: Kind, request: pytest.FixtureRequest) -> Harness:
    if kind is MEMORY:
        return memory_harness()
    if kind is CLUSTER:
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        settings = RedisSettings(url=SecretStr(cluster.addresses), type="cluster", socket_type="tcp")
        return redis_harness(kind, settings, lambda key: cluster.holder(slot_of(key)))
    server: RedisServer = request.getfixturevalue("redis_server")
    settings = RedisSettings(url=SecretStr(str(server.path)), scripts="off" if kind is PLAIN else "auto")
    return redis_harness(kind, settings, lambda _: server)


def memory_harness() -> Harness:
    store = MemoryStore(100_000)

    async def read(key: str) -> tuple[int, float] | None:
        counter = store._counters.get(key)
        return None if counter is None else (counter[0], counter[1] - NOW)

    return Harness(MEMORY, store, read)


def redis_harness(kind: Kind, settings: RedisSettings, server_of: Callable[[str], RedisServer]) -> Harness:
    async def read(key: str) -> tuple[int, float] | None:
        text = server_of(key).ask("GET", key)
        return None if text is None else (int(text), server_of(key).ask("PTTL", key) / 1000)

    def ask(key: str, *command: str | int) -> Any:
        return server_of(key).ask(*command)

    return Harness(kind, RedisStore(settings, None, Registry(), SystemClock(), is_timed_by_caller=True), read, ask)
