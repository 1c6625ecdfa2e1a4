"""A cluster of three, whole and not so whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ratelimit.errors import StoreRefused, StoreUnavailable
from ratelimit.store import Charge, Ledger, Policy
from ratelimit.stores.redis import RedisStore
from serving.metrics import Registry
from serving.redis import slot_of
from tests.contract.redis_stores import CLOCK, count, counts, opened, settings, until
from tests.fakes.redis_servers import RedisCluster, empty, moved, node_id, wait_until


@asynccontextmanager
async def in_cluster(
    cluster: RedisCluster, *, registry: Registry | None = None, **options: Any
) -> AsyncIterator[RedisStore]:
    async with opened(settings(cluster.addresses, type="CLUSTER", **options), registry=registry) as store:
        yield store


def keys_of(cluster: RedisCluster, name: str) -> list[str]:
    """Return one key on each node."""
    keys: dict[int, str] = {}
    number = 0
    while len(keys) < len(cluster.servers):
        key = f"{name}{number}"
        keys.setdefault(cluster.servers.index(cluster.holder(slot_of(key))), key)
        number += 1
    return [keys[position] for position in range(len(cluster.servers))]


async def test_a_ledger_may_span_nodes(redis_cluster: RedisCluster) -> None:
    keys = keys_of(redis_cluster, "span")
    async with in_cluster(redis_cluster) as store:
        outcome = await count(store, *(Charge(key, position, 10, 100) for position, key in enumerate(keys)))

    assert outcome == [(0, 0), (0, 1), (0, 2)]


async def test_a_part_that_is_refused_refuses_the_ledger(redis_cluster: RedisCluster) -> None:
    keys = keys_of(redis_cluster, "refused")
    redis_cluster.holder(slot_of(keys[1])).ask("SET", keys[1], "text", "EX", 100)
    async with in_cluster(redis_cluster) as store:
        outcome = await count(store, *(Charge(key, 1, 10, 100) for key in keys))

    assert isinstance(outcome, StoreRefused)


async def test_a_look_that_is_refused_writes_nothing(redis_cluster: RedisCluster) -> None:
    keys = keys_of(redis_cluster, "look")
    redis_cluster.holder(slot_of(keys[1])).ask("SET", keys[1], "text", "EX", 100)
    async with in_cluster(redis_cluster) as store:
        ledger = Ledger([Charge(key, 1, 10, 100) for key in keys], CLOCK.steady() + 10, Policy.STOP)
        (outcome,) = await store.charge([ledger], 0.0)

    written = [redis_cluster.holder(slot_of(key)).ask("GET", key) for key in keys]
    assert (type(outcome), written) == (StoreRefused, [None, b"text", None])


async def test_ledgers_that_need_a_look_see_those_that_need_none(redis_cluster: RedisCluster) -> None:
    first, second, _ = keys_of(redis_cluster, "mixed")
    async with in_cluster(redis_cluster) as store:
        deadline = CLOCK.steady() + 10
        outcomes = await store.charge(
            [
                Ledger([Charge(first, 9, 10, 100)], deadline),
                Ledger([Charge(first, 4, 10, 100, is_refund=True)], deadline),
                Ledger([Charge(first, 6, 10, 100), Charge(second, 1, 10, 100)], deadline, Policy.STOP),
            ],
            0.0,
        )

    assert outcomes == [[(0, 9)], [(9, 5)], [(5, 11), (0, 0)]]


async def test_a_slot_that_moved_is_followed(redis_cluster: RedisCluster) -> None:
    """MOVED, after a slot went from the first node to the second."""
    key = keys_of(redis_cluster, "moved")[0]
    async with in_cluster(redis_cluster) as store:
        await count(store, Charge("warm" + key, 1, 10, 100))
        with moved(redis_cluster, slot_of(key)):
            outcome = await count(store, Charge(key, 1, 10, 100))
            where = redis_cluster.servers[1].ask("GET", key)
            redis_cluster.servers[1].ask("DEL", key)

    assert (outcome, where) == ([(0, 1)], b"1")


async def test_a_node_without_slots_is_let_go() -> None:
    cluster = RedisCluster()
    try:
        cluster.start()
        keys = keys_of(cluster, "emptied")
        registry = Registry()
        async with in_cluster(cluster, registry=registry) as store:
            await count(store, *(Charge(key, 1, 10, 100) for key in keys))
            before = links(registry)
            empty(cluster, 2, into=1)
            outcome = await count(store, Charge(keys[2], 1, 10, 100))

            assert (before, outcome) == (3, [(0, 1)])
            await until(lambda: asks_of(store, keys[2], lambda: links(registry) == 2))
    finally:
        cluster.remove()


def links(registry: Registry) -> float:
    return sum(sample.value for sample in registry.samples() if sample.name == "ratelimit.redis_pool.cx_active")


async def asks_of(store: RedisStore, key: str, holds: Callable[[], bool]) -> bool:
    """Ask once more: a node that has not heard of a change yet may give the old map, until it is found wrong again."""
    await count(store, Charge(key, 0, 10, 100))
    return holds()


async def test_a_slot_on_its_way_is_asked_where_it_goes(redis_cluster: RedisCluster) -> None:
    """ASK, while a slot goes from the first node to the second."""
    key = keys_of(redis_cluster, "ask")[0]
    source, target, _ = redis_cluster.servers
    slot = slot_of(key)
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(source))
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(target))
    async with in_cluster(redis_cluster) as store:
        outcome = await count(store, Charge(key, 1, 10, 100))
    target.ask_all(("ASKING",), ("DEL", key))
    for server in (source, target):
        server.ask("CLUSTER", "SETSLOT", slot, "STABLE")

    assert outcome == [(0, 1)]


async def test_a_slot_that_nobody_holds_is_unavailable(redis_cluster: RedisCluster) -> None:
    key = keys_of(redis_cluster, "unheld")[0]
    slot, holder = slot_of(key), redis_cluster.servers[0]
    for server in redis_cluster.servers:
        server.ask("CLUSTER", "DELSLOTS", slot)
    async with in_cluster(redis_cluster) as store:
        outcome = await count(store, Charge(key, 1, 10, 100), seconds=0.05)
    holder.ask("CLUSTER", "ADDSLOTS", slot)
    wait_until(lambda: redis_cluster.is_held(slot), "all know the slot's holder again")

    assert isinstance(outcome, StoreUnavailable)


async def test_a_node_that_is_gone_fails_its_slots_only() -> None:
    cluster = RedisCluster()
    try:
        cluster.start()
        keys = keys_of(cluster, "gone")
        async with in_cluster(cluster, breaker_probe_interval=0.02) as store:
            await count(store, *(Charge(key, 1, 10, 100) for key in keys))
            cluster.servers[0].stop()
            outcomes = [type(await count(store, Charge(key, 1, 10, 100), seconds=0.3)) for key in keys]
            cluster.servers[0].start()
            await until(lambda: counts(store, keys[0]))
    finally:
        cluster.remove()

    assert outcomes == [StoreUnavailable, list, list]
