"""What leases do, in memory and in Redis; two instances over one Redis are two replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from semcache.lease import Leases, Pending
from semcache.leases.memory import MemoryLeases
from semcache.leases.redis import RedisLeases
from semcache.settings import LeaseSettings
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.redis_client import RedisClient
from serving.settings import RedisSettings
from tests.fakes.redis_servers import RedisCluster, RedisServer, running, running_cluster

LONG_SECONDS = 30.0
SHORT_SECONDS = 0.05
SETTINGS = LeaseSettings(pending_max=60, others_max=3, note_bytes_max=64, poll_interval=LONG_SECONDS)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(params=["memory", "redis", "redis-cluster"])
async def replicas(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Leases, Leases]]:
    """Two instances that know of each other only through what they share."""
    clock = SystemClock()
    if request.param == "memory":
        leases = MemoryLeases(SETTINGS, clock)
        await leases.start()
        yield leases, leases
        await leases.stop()
        return
    if request.param == "redis":
        settings = RedisSettings(url=str(request.getfixturevalue("server").path))  # type: ignore[arg-type]
        request.getfixturevalue("server").ask("FLUSHALL")
    else:
        cluster = request.getfixturevalue("cluster")
        settings = RedisSettings(type="CLUSTER", socket_type="tcp", url=cluster.addresses)
        for node in cluster.servers:
            node.ask("FLUSHALL")
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(2):
            client = RedisClient(settings, Registry(), clock)
            await client.start()
            stack.push_async_callback(client.stop)
            leases_here = RedisLeases(client, SETTINGS, clock)
            await leases_here.start()
            stack.push_async_callback(leases_here.stop)
            made.append(leases_here)
        await _both_listen(made[0], made[1])
        yield made[0], made[1]


async def _both_listen(first: RedisLeases, second: RedisLeases) -> None:
    """Wait until a release by either reaches the other: what is told before that is not heard."""
    for speaker, hearer in ((first, second), (second, first)):
        for attempt in range(500):
            grant = await speaker.take("listening", str(attempt), b"", LONG_SECONDS)
            waiting = asyncio.create_task(hearer.wait("listening", str(attempt), 0.05))
            await asyncio.sleep(0.005)
            await speaker.release("listening", str(attempt), grant.token)
            if await waiting:
                break


async def test_a_key_has_one_holder(replicas: tuple[Leases, Leases]) -> None:
    first, second = replicas

    granted = await first.take("g", "k", b"", LONG_SECONDS)
    refused = await second.take("g", "k", b"", LONG_SECONDS)

    assert (granted.is_held, refused.is_held) == (True, False)


async def test_keys_and_groups_do_not_touch_each_other(replicas: tuple[Leases, Leases]) -> None:
    first, second = replicas

    grants = [
        await first.take("g", "k", b"", 9),
        await second.take("g", "l", b"", 9),
        await second.take("h", "k", b"", 9),
    ]

    assert all(grant.is_held for grant in grants)


async def test_fifty_equal_askers_have_one_holder(replicas: tuple[Leases, Leases]) -> None:
    grants = await asyncio.gather(*(replicas[n % 2].take("g", "k", b"", LONG_SECONDS) for n in range(50)))

    assert sum(grant.is_held for grant in grants) == 1


async def test_of_fifty_that_come_together_each_sees_those_before_it(replicas: tuple[Leases, Leases]) -> None:
    grants = await asyncio.gather(*(replicas[n % 2].take("g", f"k{n}", b"", LONG_SECONDS) for n in range(50)))

    assert sum(not grant.others for grant in grants) == 1


async def test_a_release_wakes_all_who_wait(replicas: tuple[Leases, Leases]) -> None:
    first, second = replicas
    grant = await first.take("g", "k", b"", LONG_SECONDS)
    waiting = [asyncio.create_task(each.wait("g", "k", LONG_SECONDS)) for each in replicas for _ in range(5)]
    await asyncio.sleep(0.02)

    assert await first.release("g", "k", grant.token)

    async with asyncio.timeout(20):
        assert await asyncio.gather(*waiting) == [True] * 10
    assert (await second.take("g", "k", b"", LONG_SECONDS)).is_held


async def test_who_stops_waiting_leaves_the_others_to_be_woken(replicas: tuple[Leases, Leases]) -> None:
    grant = await replicas[0].take("g", "k", b"", LONG_SECONDS)
    patient = asyncio.create_task(replicas[1].wait("g", "k", LONG_SECONDS))
    await replicas[1].wait("g", "k", SHORT_SECONDS)

    await replicas[0].release("g", "k", grant.token)

    async with asyncio.timeout(20):
        assert await patient


async def test_what_nobody_holds_is_not_waited_for(replicas: tuple[Leases, Leases]) -> None:
    assert await replicas[0].wait("g", "free", LONG_SECONDS)


async def test_waiting_has_an_end(replicas: tuple[Leases, Leases]) -> None:
    await replicas[0].take("g", "k", b"", LONG_SECONDS)

    assert not await replicas[1].wait("g", "k", SHORT_SECONDS)


async def test_a_lease_whose_holder_died_runs_out(replicas: tuple[Leases, Leases]) -> None:
    first, second = replicas
    await first.take("g", "k", b"", SHORT_SECONDS)

    assert await second.wait("g", "k", LONG_SECONDS)
    assert (await second.take("g", "k", b"", LONG_SECONDS)).is_held


async def test_a_lease_that_ran_out_cannot_be_given_back_for_the_next_holder(replicas: tuple[Leases, Leases]) -> None:
    first, second = replicas
    dead = await first.take("g", "k", b"", SHORT_SECONDS)
    await second.wait("g", "k", LONG_SECONDS)
    await second.take("g", "k", b"", LONG_SECONDS)

    assert not await first.release("g", "k", dead.token)
    assert not (await first.take("g", "k", b"", LONG_SECONDS)).is_held


async def test_only_the_holder_gives_back_and_only_once(replicas: tuple[Leases, Leases]) -> None:
    first, second = replicas
    grant = await first.take("g", "k", b"", LONG_SECONDS)

    answers = [await second.release("g", "k", "0" * 32)]
    answers += [await second.release("g", "k", grant.token) for _ in range(2)]

    assert answers == [False, True, False]


async def test_what_never_was_held_cannot_be_given_back(replicas: tuple[Leases, Leases]) -> None:
    assert not await replicas[0].release("g", "never", "0" * 32)


async def test_a_holder_hears_of_the_latest_others_oldest_first(replicas: tuple[Leases, Leases]) -> None:
    for number, leases in enumerate((*replicas, *replicas)):
        await leases.take("g", f"k{number}", bytes([number, 0, 255]), LONG_SECONDS + number)

    grant = await replicas[1].take("g", "mine", b"", LONG_SECONDS)

    assert list(grant.others) == [Pending(f"k{number}", bytes([number, 0, 255])) for number in (1, 2, 3)]


async def test_what_was_given_back_or_ran_out_is_no_other(replicas: tuple[Leases, Leases]) -> None:
    first, second = replicas
    back = await first.take("g", "back", b"", LONG_SECONDS)
    await first.release("g", "back", back.token)
    await first.take("g", "dead", b"", SHORT_SECONDS)
    await second.wait("g", "dead", LONG_SECONDS)

    assert (await second.take("g", "mine", b"", LONG_SECONDS)).others == []


async def test_a_note_too_long_is_left_out(replicas: tuple[Leases, Leases]) -> None:
    await replicas[0].take("g", "long", b"x" * 65, LONG_SECONDS)
    await replicas[0].take("g", "fits", b"x" * 64, LONG_SECONDS + 1)

    grant = await replicas[1].take("g", "mine", b"", LONG_SECONDS)

    assert [len(other.note) for other in grant.others] == [0, 64]


async def test_a_full_group_grants_to_everybody_and_keeps_nothing(replicas: tuple[Leases, Leases]) -> None:
    for number in range(60):
        await replicas[0].take("g", str(number), b"", LONG_SECONDS)

    grants = [await leases.take("g", "more", b"", LONG_SECONDS) for leases in replicas]

    assert [grant.is_held for grant in grants] == [True, True]
    assert not await replicas[0].release("g", "more", grants[0].token)


async def test_stopping_lets_waiters_go(replicas: tuple[Leases, Leases]) -> None:
    await replicas[0].take("g", "k", b"", LONG_SECONDS)
    waiting = asyncio.create_task(replicas[1].wait("g", "k", LONG_SECONDS))
    await asyncio.sleep(0.02)

    await replicas[1].stop()

    async with asyncio.timeout(20):
        assert not await waiting
