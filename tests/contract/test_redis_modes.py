"""What the settings of Redis name, and what a server can do, against real servers."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ratelimit.draw import Algorithm, Draw, Op, Terms
from ratelimit.errors import StoreRefused, StoreUnavailable
from ratelimit.store import Admission, Charge, Ledger, Policy
from ratelimit.stores.redis import CHANNEL, RedisStore
from serving.metrics import Registry
from serving.redis_client import RedisClient
from serving.settings import PerSecondRedisSettings
from tests.contract.redis_stores import CLOCK, RECOVERY_SECONDS, count, opened, settings, until
from tests.fakes.redis_servers import RedisServer, running


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running(has_port=True) as server:
        yield server


@pytest.fixture(autouse=True)
def empty(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        request.getfixturevalue("server").ask_all(("FLUSHALL",), ("CONFIG", "RESETSTAT"))


@pytest.mark.parametrize(
    "form",
    ["{path}", "unix://{path}", "127.0.0.1:{port}", "redis://127.0.0.1:{port}", "redis://localhost:{port}/0"],
)
async def test_an_address_has_many_forms(server: RedisServer, form: str) -> None:
    url = form.format(path=server.path, port=server.port)
    async with opened(settings(url, socket_type="unix" if form == "{path}" else "tcp")) as store:
        assert await count(store) == [(0, 1)]


async def test_a_url_may_name_a_database(server: RedisServer) -> None:
    async with opened(settings(f"redis://127.0.0.1:{server.port}/3")) as store:
        await count(store)

    assert server.ask_all(("SELECT", 3), ("GET", "k")) == [b"OK", b"1"]


async def test_nobody_there_is_waited_for_as_long_as_the_settings_say() -> None:
    with pytest.raises(StoreUnavailable, match="not reached within"):
        async with opened(settings("127.0.0.1:1", startup_initial_interval=0.01, startup_max_elapsed_time=0.05)):
            pass


async def test_a_cluster_of_which_nobody_answers_is_waited_for_as_long_as_the_settings_say() -> None:
    waiting = {"startup_initial_interval": 0.01, "startup_max_elapsed_time": 0.05}
    with pytest.raises(StoreUnavailable):
        async with opened(settings("127.0.0.1:1,127.0.0.1:2", type="CLUSTER", **waiting)):
            pass


async def test_a_server_that_comes_later_is_found(server: RedisServer) -> None:
    server.stop()
    store = RedisStore(
        settings(server.address, startup_initial_interval=0.01, startup_max_elapsed_time=0), None, Registry(), CLOCK
    )
    starting = asyncio.create_task(store.start())
    await asyncio.sleep(0.02)
    was_healthy = store.is_healthy
    server.start()
    await asyncio.wait_for(starting, RECOVERY_SECONDS)

    assert (was_healthy, store.is_healthy) == (False, True)
    await store.stop()


async def test_without_scripts_what_needs_one_is_refused_and_nobody_listens(server: RedisServer) -> None:
    async with opened(settings(server.path, socket_type="unix", scripts="off")) as store:
        store.on_refund(lambda _: None)
        draw = Draw("{k}", Op.CHARGE, 1, Terms(Algorithm.SLIDING_WINDOW, 10, 60_000, 10))
        _, (answer,) = await store.admit((), [Admission([draw], math.inf)], 0.0)

        assert isinstance(answer, StoreRefused)
        assert server.ask("PUBSUB", "NUMSUB", CHANNEL) == [CHANNEL.encode(), 0]


async def test_what_is_admitted_goes_with_what_is_counted_and_what_is_late_is_not_sent(server: RedisServer) -> None:
    draw = Draw("{k}", Op.CHARGE, 1, Terms(Algorithm.SLIDING_WINDOW, 10, 60_000, 10))
    async with opened(settings(server.path, socket_type="unix")) as store:
        end = CLOCK.steady() + 10
        (counted,), (admitted,) = await store.admit(
            [Ledger([Charge("plain", 2, 10, 100)], end)], [Admission([draw], end)], 0.0
        )
        _, (late,) = await store.admit((), [Admission([draw], CLOCK.steady() - 1)], 0.0)
        _, (after,) = await store.admit((), [Admission([draw], end)], 0.0)

    assert counted == [(0, 2)]
    assert [type(late), [each[0].after for each in (admitted, after) if isinstance(each, list)]] == [
        StoreUnavailable,
        [1, 2],
    ]


async def test_a_script_that_was_flushed_is_sent_again(server: RedisServer) -> None:
    async with opened(settings(server.address)) as store:
        await count(store)
        server.ask("SCRIPT", "FLUSH")

        assert await count(store) == [(1, 2)]


async def test_a_counter_that_holds_is_read_once_in_a_call_and_written_once(server: RedisServer) -> None:
    terms = Terms(Algorithm.FIXED_WINDOW, 10_000, 0, 10_000, hold_ms=60_000, hold_max=100)
    draws = [Draw("{one}", op, 5, terms, start=3_600, end=7_200) for op in (Op.RESERVE, Op.SETTLE)]
    batch = [Admission(draws, math.inf, is_kept=True) for _ in range(20)]
    async with opened(settings(server.address)) as store:
        await store.admit((), batch, 3_600.0)
        server.ask("CONFIG", "RESETSTAT")
        await store.admit((), batch, 3_600.0)

    lines = [line.partition(":") for line in server.ask("INFO", "commandstats").decode().splitlines()]
    asked = {name: int(counts.split("calls=")[1].split(",")[0]) for name, _, counts in lines if counts}
    beside = {"evalsha", "time", "config|resetstat", "info", "quit"}
    assert {name.removeprefix("cmdstat_"): calls for name, calls in asked.items()}.items() - {(name, 1) for name in beside} == {
        ("hmget", 1), ("get", 1), ("hget", 1), ("hset", 1), ("hdel", 1), ("incrby", 1),
    }  # fmt: skip


# A second server for limits per second


async def test_limits_per_second_count_in_their_own_server(server: RedisServer) -> None:
    with running() as second:
        per_second = PerSecondRedisSettings(url=SecretStr(str(second.path)))
        async with opened(settings(server.address), per_second) as store:
            outcome = await count(store, Charge("s", 1, 5, 100, is_per_second=True), Charge("h", 2, 5, 100))

        held = [redis.ask("MGET", "s", "h") for redis in (server, second)]
    assert (outcome, held) == ([(0, 1), (0, 2)], [[None, b"2"], [b"1", None]])


async def test_stop_looks_into_both_servers_first(server: RedisServer) -> None:
    with running() as second:
        per_second = PerSecondRedisSettings(url=SecretStr(str(second.path)))
        second.ask("SET", "s", "5")
        async with opened(settings(server.address), per_second) as store:
            charges = [Charge("s", 1, 5, 100, is_per_second=True), Charge("h", 2, 5, 100)]
            outcomes = await store.charge([Ledger(charges, CLOCK.steady() + 10, Policy.STOP)], 0.0)

    assert outcomes == [[(5, 6), (0, 0)]]


async def test_a_ledger_of_which_a_part_is_away_may_have_happened(server: RedisServer) -> None:
    with running() as second:
        per_second = PerSecondRedisSettings(url=SecretStr(str(second.path)), breaker_failures=1)
        async with opened(settings(server.address), per_second) as store:
            second.stop()
            outcome = await count(store, Charge("s", 1, 5, 100, is_per_second=True), Charge("h", 2, 5, 100))

    assert repr(outcome).startswith("StoreTimeout('only a part is known to have happened")


# What the server can do


async def test_a_server_that_refuses_scripts_is_spoken_to_without() -> None:
    with running("--rename-command", "EVAL", "", "--rename-command", "EVALSHA", "") as server:
        async with opened(settings(server.path, socket_type="unix")) as store:
            outcomes = [await count(store), server.ask("TTL", "k") > 0]

    assert outcomes == [[(0, 1)], True]


async def test_nutcrackers_socket_is_spoken_to_without_scripts(server: RedisServer) -> None:
    link = Path(str(server.folder)) / "nutcracker.sock"
    link.symlink_to(server.path)
    async with opened(settings(link, socket_type="unix")) as store:
        await count(store)

    assert b"cmdstat_eval" not in server.ask("INFO", "commandstats")


@pytest.mark.parametrize(
    ("policy", "memory", "warnings"),
    [("allkeys-lru", "1gb", 1), ("allkeys-lru", "0", 0), ("noeviction", "1gb", 0), ("volatile-ttl", "1gb", 1)],
)
async def test_a_server_that_may_evict_counters_is_warned_about(
    policy: str, memory: str, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    with running("--maxmemory", memory, "--maxmemory-policy", policy) as server, caplog.at_level(logging.WARNING):
        async with opened(settings(server.path, socket_type="unix")):
            pass

    assert caplog.text.count("may evict counters") == warnings


async def test_a_listener_is_there_again_after_an_outage(server: RedisServer) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    client = RedisClient(settings(server.address, breaker_probe_interval=0.01), Registry(), CLOCK)
    await client.start()
    client.subscribe("news", heard.put_nowait)
    server.ask("CLIENT", "KILL", "TYPE", "pubsub")

    async def is_heard() -> bool:
        return bool(server.ask("PUBLISH", "news", "again"))

    await until(is_heard)
    word = await asyncio.wait_for(heard.get(), RECOVERY_SECONDS)
    await client.stop()

    assert word == b"again"
