"""Whatever is changed, ended, lost and read in whatever order: a replica that has read to the end knows what the store has."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from ratelimit.dynamic_limit import DynamicLimitStore, LimitsFull
from ratelimit.known_limits import KnownLimits
from ratelimit.stores.memory_limits import MemoryLimits
from ratelimit.stores.redis_limits import RedisLimits
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.redis_client import RedisClient
from serving.settings import RedisSettings
from tests.fakes.clock import FakeClock
from tests.fakes.redis_servers import RedisServer, running

NAMES = "abcde"
LIMITS_MAX = 4
CLEARED_MAX = 1
PAGE = 2


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running() as one:
        yield one


names = st.sampled_from(NAMES)
put = st.tuples(st.just("put"), names, st.integers(0, 99), st.sampled_from([0, 0, 1_000, 5_000]))
clear = st.tuples(st.just("clear"), names)
steps = st.lists(
    st.one_of(
        put,
        put,
        put,
        clear,
        clear,
        st.tuples(st.just("advance"), st.sampled_from([0.5, 1.0, 6.0])),
        st.tuples(st.just("page"), st.integers(0, 1)),
        st.tuples(st.just("read"), st.integers(0, 1)),
        st.tuples(st.just("lose")),
    ),
    min_size=20,
    max_size=60,
)


# Rare among random ones: slept through a beginning and an end; through more clearings than are remembered.
ASLEEP = [("put", "a", 1, 0), ("read", 0), ("put", "a", 2, 1_000), ("advance", 6.0), ("put", "b", 3, 0)]
FORGOTTEN = [*[("put", name, 1, 0) for name in "abc"], ("read", 0), *[("clear", name) for name in "abc"]]


class World:
    """A store, a naive model of it, and two replicas that read at moments of their own."""

    def __init__(self, make_store: Callable[[FakeClock], DynamicLimitStore]) -> None:
        self.clock = FakeClock()
        self.make_store = make_store
        self.store = make_store(self.clock)
        self.model: dict[str, tuple[int, float]] = {}
        self.replicas = [KnownLimits(), KnownLimits()]

    async def do(self, kind: str, *arguments: object) -> None:
        await getattr(self, kind)(*arguments)

    async def put(self, name: str, amount: int, ttl_ms: int) -> None:
        try:
            await self.store.put(name, amount, ttl_ms=ttl_ms, expected_version=None, deadline=math.inf)
        except LimitsFull:
            assert len(self.now()) == LIMITS_MAX
            return
        self.model[name] = amount, self.clock.steady() + ttl_ms / 1000 if ttl_ms else math.inf

    async def clear(self, name: str) -> None:
        version = await self.store.clear(name, expected_version=None, deadline=math.inf)
        assert (version > 0) == (name in self.now())
        self.model.pop(name, None)

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def page(self, replica: int) -> bool:
        known = self.replicas[replica]
        page = await self.store.read(known.after, most=PAGE, deadline=math.inf)
        is_more = known.take(page, self.clock.steady())
        known.expire(self.clock.steady())
        return is_more

    async def read(self, replica: int) -> None:
        while await self.page(replica):
            pass
        assert self.known(replica) == self.now()

    async def lose(self) -> None:
        """Have the store begin again, as a Redis that was emptied does."""
        await self.store.stop()
        self.clock.advance(0.25)
        self.store, self.model = self.make_store(self.clock), {}

    def now(self) -> dict[str, int]:
        return {name: amount for name, (amount, ends) in self.model.items() if ends > self.clock.steady()}

    def known(self, replica: int) -> dict[str, int]:
        found = {name: self.replicas[replica].get(name) for name in NAMES}
        return {name: amount for name, amount in found.items() if amount is not None}


async def live(world: World, script: list[tuple[object, ...]]) -> None:
    for kind, *arguments in script:
        await world.do(str(kind), *arguments)
    for replica in (0, 1):
        await world.read(replica)
    await world.store.stop()


@settings(max_examples=300, deadline=None)
@given(steps)
@example(ASLEEP)
@example(FORGOTTEN)
def test_a_replica_of_a_store_in_memory_ends_at_its_state(script: list[tuple[object, ...]]) -> None:
    def make(clock: FakeClock) -> MemoryLimits:
        return MemoryLimits(clock, limits_max=LIMITS_MAX, cleared_max=CLEARED_MAX)

    asyncio.run(live(World(make), script))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
@example(ASLEEP)
@example(FORGOTTEN)
def test_a_replica_of_redis_ends_at_its_state(server: RedisServer, script: list[tuple[object, ...]]) -> None:
    prefix = uuid.uuid4().hex
    redis = RedisSettings(url=SecretStr(str(server.path)))

    def make(clock: FakeClock) -> RedisLimits:
        server.ask("FLUSHALL")
        return RedisLimits(
            lambda: RedisClient(redis, Registry(), SystemClock()),
            limits_max=LIMITS_MAX,
            cleared_max=CLEARED_MAX,
            key_prefix=prefix,
            now_ms=lambda: int(clock.wall() * 1000),
        )

    asyncio.run(live(World(make), script))
