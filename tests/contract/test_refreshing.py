"""Replicas over one Redis: what one sets, the others follow; through outages, and only where a rule asks for it."""

from __future__ import annotations

import asyncio
import math
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from protos.interop.rls.v1.rls_pb2 import RateLimitRequest, RateLimitResponse
from protos.ratelimit.v1 import admin_pb2 as wire
from protos.ratelimit.v1 import limiter_pb2
from ratelimit import settings
from ratelimit.app import Service
from serving.calls import Call, Caller, Failure, Method
from serving.clock import SystemClock
from tests.fakes.redis_servers import RedisServer, running

RULES = """domain: llm
descriptors:
  - key: tenant
    rate_limit: {unit: day, requests_per_unit: 10CEILING}
"""
TOKEN = "t0k3n"
BOUND_SECONDS = 20.0


@dataclass
class Replica:
    """One service, asked without a wire."""

    service: Service
    rules: Path
    methods: dict[str, Method] = field(default_factory=dict)

    async def start(self) -> None:
        service = self.service
        self.methods = {method.path.rpartition("/")[2]: method for method in service.apis.methods()}
        await service.store.start()
        await service.source.start()
        await service.refreshing.start()

    async def stop(self) -> None:
        await self.service.refreshing.stop()
        await self.service.source.stop()
        await self.service.store.stop()

    async def admin(self, name: str, request: wire.SetLimitRequest | wire.ClearLimitRequest) -> Failure | bytes:
        call = Call(request.SerializeToString(), math.inf, Caller("test", token=TOKEN))
        (reply,) = await self.methods[name].handler([call])
        assert isinstance(reply, bytes | Failure)
        return reply

    async def set(self, amount: int, tenant: str = "acme") -> None:
        assert isinstance(await self.admin("SetLimit", setting(amount, tenant)), bytes)

    async def limit(self, tenant: str = "acme") -> int:
        """Return what an unmodified gateway is told of the limit, by a call that looks."""
        request = RateLimitRequest(domain="llm")
        descriptor = request.descriptors.add()
        descriptor.entries.add(key="tenant", value=tenant)
        descriptor.hits_addend.value = 0
        call = Call(request.SerializeToString(), self.service.clock.steady() + 5, Caller("test"))
        (reply,) = await self.service.rls.should_rate_limit([call])
        assert isinstance(reply, bytes), reply
        return int(RateLimitResponse.FromString(reply).statuses[0].current_limit.requests_per_unit)

    def metric(self, name: str) -> float:
        samples = self.service.registry.samples()
        return sum(sample.value for sample in samples if sample.name == f"weir.dynamic_limits.{name}")


def descriptor(tenant: str) -> limiter_pb2.Descriptor:
    return limiter_pb2.Descriptor(entries=[limiter_pb2.Entry(key="tenant", value=tenant)])


def setting(amount: int, tenant: str) -> wire.SetLimitRequest:
    return wire.SetLimitRequest(domain="llm", descriptor=descriptor(tenant), amount=amount)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        while not is_so():  # noqa: ASYNC110 - what others do
            await asyncio.sleep(0.01)


async def until_limit(replica: Replica, amount: int) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        while await replica.limit() != amount:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


class StartReplica(Protocol):
    async def __call__(self, redis: RedisServer, *, ceiling: int = 100, **environment: str) -> Replica: ...


@pytest.fixture
async def start_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StartReplica]:
    replicas: list[Replica] = []
    prefix = uuid.uuid4().hex

    async def start(redis: RedisServer, *, ceiling: int = 100, **environment: str) -> Replica:
        root = tmp_path / str(len(replicas))
        (root / "config").mkdir(parents=True)
        given = {
            "RUNTIME_ROOT": str(root),
            "USE_STATSD": "false",
            "REDIS_SOCKET_TYPE": "unix",
            "REDIS_URL": str(redis.path),
            "REDIS_TIMEOUT": "1s",
            "API_TOKEN": TOKEN,
            "CACHE_KEY_PREFIX": prefix,
            "DYNAMIC_LIMITS_REFRESH": "20ms",
            "RUNTIME_WATCH_ROOT": "false",
            "CONFIG_WATCH": "poll",
            "CONFIG_POLL_INTERVAL": "20ms",
            **environment,
        }
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        replica = Replica(Service(settings.load(), SystemClock()), root / "config" / "rules.yaml")
        write(replica, ceiling)
        replicas.append(replica)
        await replica.start()
        return replica

    yield start
    for replica in replicas:
        await replica.stop()


def write(replica: Replica, ceiling: int) -> None:
    text = RULES.replace("CEILING", f", ceiling: {ceiling}" if ceiling else "")
    new = replica.rules.parents[1] / "new"
    new.write_text(text)
    shutil.move(new, replica.rules)


async def test_what_one_replica_sets_and_clears_the_other_follows(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    one, other = await start_replica(redis_server), await start_replica(redis_server)
    await one.set(50)

    assert await one.limit() == 50
    await until_limit(other, 50)
    await other.admin("ClearLimit", wire.ClearLimitRequest(domain="llm", descriptor=descriptor("acme")))
    assert await other.limit() == 10
    await until_limit(one, 10)


async def test_a_replica_that_starts_knows_every_limit_before_its_first_call(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    one = await start_replica(redis_server)
    await one.set(50)
    other = await start_replica(redis_server, DYNAMIC_LIMITS_REFRESH="1h")

    assert (await other.limit(), other.metric("count"), other.metric("version")) == (50, 1, 1)


async def test_while_redis_is_away_the_last_known_limits_stay_and_their_age_is_told(
    start_replica: StartReplica, caplog: pytest.LogCaptureFixture
) -> None:
    with running() as redis:
        replica = await start_replica(redis)
        await replica.set(50)
        redis.stop()
        await until(lambda: replica.metric("refresh_failures") > 0)
        known = replica.service.known_limits
        away = (known.version, len(known))
        aged = replica.metric("age_seconds")
        redis.start()
        await until_limit(replica, 10)  # it came back with nothing: the store is what holds

        assert away == (1, 1)
        assert aged > 0
        assert caplog.text.count("the last known stay in force") == 1


async def test_a_change_that_redis_does_not_take_is_told_as_not_made(start_replica: StartReplica) -> None:
    with running() as redis:
        replica = await start_replica(redis)
        redis.stop()
        reply = await replica.admin("SetLimit", setting(50, "acme"))

    assert isinstance(reply, Failure)
    assert reply.status.name in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


async def test_without_a_ceiling_nobody_looks_and_with_one_in_new_rules_it_begins(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    one = await start_replica(redis_server)
    await one.set(50)
    other = await start_replica(redis_server, ceiling=0)
    before = (await other.limit(), other.metric("age_seconds"), other.metric("count"))
    write(other, 100)
    await until_limit(other, 50)
    write(other, 0)
    await until(lambda: other.metric("count") == 0)

    assert before == (10, 0.0, 0)
    assert await other.limit() == 10


async def test_a_ceiling_lowered_by_new_rules_bounds_what_was_set_before(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    replica = await start_replica(redis_server)
    await replica.set(90)
    write(replica, 40)

    await until_limit(replica, 40)


async def test_as_many_as_may_be_are_loaded_in_pages(start_replica: StartReplica, redis_server: RedisServer) -> None:
    one = await start_replica(redis_server)
    for start in range(0, 1_500, 50):
        await asyncio.gather(*(one.set(20 + number % 50, f"t{number}") for number in range(start, start + 50)))
    other = await start_replica(redis_server)

    assert (other.metric("count"), await other.limit("t1499")) == (1_500, 20 + 1_499 % 50)
