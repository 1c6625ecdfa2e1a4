"""Dynamic limits: one suite for memory, Redis, and a cluster."""

from __future__ import annotations

import math
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha1

import pytest
from pydantic import SecretStr

from ratelimit.dynamic_limit import DynamicLimit, DynamicLimitStore, LimitsFull, Page, Place, VersionConflict
from ratelimit.errors import StoreRefused, StoreTimeout, StoreUnavailable
from ratelimit.stores import redis_limits as module
from ratelimit.stores.memory_limits import MemoryLimits
from ratelimit.stores.redis_limits import RedisLimits
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.redis_client import RedisClient
from serving.redis_node import Script
from serving.settings import RedisSettings
from tests.fakes.clock import FakeClock
from tests.fakes.ports import free_port
from tests.fakes.redis_servers import RedisCluster, RedisServer

LIMITS_MAX = 5
CLEARED_MAX = 3


@dataclass
class Kept:
    """A store, and the clock that ends go by."""

    store: DynamicLimitStore
    clock: FakeClock = field(default_factory=FakeClock)

    async def put(self, name: str, amount: int = 7, ttl_ms: int = 0, expected: int | None = None) -> DynamicLimit:
        return await self.store.put(name, amount, ttl_ms=ttl_ms, expected_version=expected, deadline=math.inf)

    async def clear(self, name: str, expected: int | None = None) -> int:
        return await self.store.clear(name, expected_version=expected, deadline=math.inf)

    async def read(self, after: int = 0, most: int = 100) -> Page:
        return await self.store.read(after, most=most, deadline=math.inf)

    async def told(self, after: int = 0, most: int = 100) -> list[tuple[str, int, int | None]]:
        page = await self.read(after, most)
        return [(each.name, each.version, each.limit.amount if each.limit else None) for each in page.changes]


def redis_limits(settings: RedisSettings, clock: FakeClock) -> RedisLimits:
    return RedisLimits(
        lambda: RedisClient(settings, Registry(), SystemClock()),
        limits_max=LIMITS_MAX,
        cleared_max=CLEARED_MAX,
        key_prefix=uuid.uuid4().hex,
        now_ms=lambda: int(clock.wall() * 1000),
    )


@pytest.fixture(params=["memory", "redis", "cluster"])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    clock = FakeClock()
    store: DynamicLimitStore
    if request.param == "memory":
        store = MemoryLimits(clock, limits_max=LIMITS_MAX, cleared_max=CLEARED_MAX)
    elif request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        store = redis_limits(RedisSettings(url=SecretStr(str(server.path))), clock)
    else:
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        address = SecretStr(cluster.addresses)
        store = redis_limits(RedisSettings(url=address, type="cluster", socket_type="tcp"), clock)
    yield Kept(store, clock)
    await store.stop()


async def test_an_empty_store_has_version_0_and_was_not_born(kept: Kept) -> None:
    page = await kept.read()

    assert (page.born, page.version, page.floor, list(page.changes)) == ("", 0, 0, [])


async def test_every_change_has_the_next_version_whatever_it_changes(kept: Kept) -> None:
    versions = [(await kept.put("a")).version, (await kept.put("b")).version, await kept.clear("a")]
    versions.append((await kept.put("b")).version)

    assert versions == [1, 2, 3, 4]
    assert (await kept.read()).version == 4


async def test_changes_are_told_from_a_version_on_the_last_of_each_limit_oldest_first(kept: Kept) -> None:
    await kept.put("a", 1)
    await kept.put("b", 2)
    await kept.put("c", 3)
    await kept.put("a", 4)
    await kept.clear("b")

    assert await kept.told() == [("c", 3, 3), ("a", 4, 4), ("b", 5, None)]
    assert await kept.told(after=4) == [("b", 5, None)]
    assert await kept.told(after=5) == []


async def test_pages_tell_everything_once(kept: Kept) -> None:
    for name in "abcde":
        await kept.put(name)
    pages = [await kept.read(after, 2) for after in (0, 2, 4)]

    assert [[change.name for change in page.changes] for page in pages] == [["a", "b"], ["c", "d"], ["e"]]
    assert [page.last for page in pages] == [2, 4, 5]
    assert len({page.born for page in pages}) == 1


async def test_an_amount_may_be_as_large_as_limits_are(kept: Kept) -> None:
    await kept.put("a", 2**53 - 1)

    assert await kept.told() == [("a", 1, 2**53 - 1)]


async def test_a_change_that_expects_another_version_is_not_made(kept: Kept) -> None:
    first = await kept.put("a", 1, expected=0)
    with pytest.raises(VersionConflict) as wrong:
        await kept.put("a", 2, expected=0)
    with pytest.raises(VersionConflict):
        await kept.clear("a", expected=9)
    with pytest.raises(VersionConflict) as missing:
        await kept.put("b", 2, expected=5)
    await kept.put("a", 3, expected=first.version)

    assert (wrong.value.version, missing.value.version) == (1, 0)
    assert await kept.told() == [("a", 2, 3)]


async def test_clearing_what_is_not_there_changes_nothing(kept: Kept) -> None:
    assert (await kept.clear("a"), await kept.clear("a", expected=0)) == (0, 0)
    assert (await kept.read()).version == 0


async def test_there_is_room_for_so_many_and_what_is_there_may_still_be_changed(kept: Kept) -> None:
    for name in "abcde":
        await kept.put(name)
    with pytest.raises(LimitsFull):
        await kept.put("f")
    changed = await kept.put("a", 9)
    await kept.clear("b")
    added = await kept.put("f")

    assert (changed.version, added.version) == (6, 8)


async def test_a_limit_that_has_ended_is_told_as_cleared_and_makes_room(kept: Kept) -> None:
    put = await kept.put("a", ttl_ms=2_000)
    for name in "bcde":
        await kept.put(name)
    page = await kept.read()
    kept.clock.advance(1.999)
    before = await kept.told()
    kept.clock.advance(0.001)
    after = await kept.told()
    added = await kept.put("f")

    assert put.ends_ms == page.now_ms + 2_000
    assert (before[0], after[0]) == (("a", 1, 7), ("a", 1, None))
    assert added.version == 6
    assert ("a", 1, None) in await kept.told()


async def test_what_has_ended_has_version_0(kept: Kept) -> None:
    await kept.put("a", ttl_ms=1_000)
    kept.clock.advance(1.0)
    put = await kept.put("a", 3, expected=0)
    kept.clock.advance(100.0)

    assert (put.version, put.ends_ms) == (2, 0)
    assert await kept.told() == [("a", 2, 3)]


async def test_a_limit_put_again_lives_as_it_was_put_last(kept: Kept) -> None:
    await kept.put("a", 1, ttl_ms=1_000)
    await kept.put("a", 2)
    await kept.put("b", 1)
    await kept.put("b", 2, ttl_ms=5_000)
    kept.clock.advance(1.0)
    first = await kept.told()
    kept.clock.advance(4.0)

    assert first == [("a", 2, 2), ("b", 4, 2)]
    assert await kept.told() == [("a", 2, 2), ("b", 4, None)]


async def test_the_oldest_clearings_are_forgotten_and_the_floor_tells_up_to_where(kept: Kept) -> None:
    for name in "abcd":
        await kept.put(name)
        await kept.clear(name)
    page = await kept.read()

    assert page.floor == 2
    assert [change.name for change in page.changes] == ["b", "c", "d"]


async def test_names_are_any_text(kept: Kept) -> None:
    place = Place("llm", (("tenant", 'ä"b\n {x}%'), ("model", "")), "minute", "fixed_window")
    await kept.put(place.name, 3)

    ((name, _, amount),) = await kept.told()
    assert (Place.read(name), amount) == (place, 3)


async def test_a_redis_that_is_away_is_told_as_unavailable() -> None:
    settings = RedisSettings(url=SecretStr(f"127.0.0.1:{free_port()}"), socket_type="tcp", timeout=0.2)
    store = redis_limits(settings, FakeClock())
    with pytest.raises(StoreUnavailable):
        await store.read(0, deadline=math.inf)
    await store.stop()


async def test_a_key_of_another_kind_refuses_the_change(redis_server: RedisServer) -> None:
    store = redis_limits(RedisSettings(url=SecretStr(str(redis_server.path))), FakeClock())
    redis_server.ask("SET", store._keys[0], "text")
    with pytest.raises(StoreRefused, match="WRONGTYPE"):
        await store.read(0, deadline=math.inf)
    await store.stop()


async def test_what_makes_no_sense_may_have_been_done(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = redis_limits(RedisSettings(url=SecretStr(str(redis_server.path))), FakeClock())
    await store.put("a", 1, ttl_ms=0, expected_version=None, deadline=math.inf)
    redis_server.ask("HSET", store._keys[1], "a", "x y 0")
    errors = []
    for body in ("", "return 1"):
        if body:
            script = Script(sha1(body.encode()).hexdigest(), body)
            monkeypatch.setattr(module, "READ", script)
            monkeypatch.setattr(module, "PUT", script)
        with pytest.raises(StoreTimeout) as raised:
            await store.read(0, deadline=math.inf)
        errors.append(str(raised.value))
    with pytest.raises(StoreTimeout) as raised:
        await store.put("a", 1, ttl_ms=0, expected_version=None, deadline=math.inf)
    await store.stop()

    assert {*errors, str(raised.value)} == {"Redis gave an answer that makes no sense"}
