"""Redis breaks in every way it can: the answer, the time bound, the metric, and the recovery."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from ratelimit.errors import StoreError, StoreRefused, StoreTimeout, StoreUnavailable
from ratelimit.store import Charge, Ledger, Outcome
from ratelimit.stores.redis import RedisStore
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.settings import RedisSettings
from tests.fakes.redis_servers import RedisServer
from tests.fakes.tcp_proxy import Fault, TcpProxy

DEADLINE_SECONDS = 0.5
# Longer than a loaded machine stands still: it must not be this bound that answers.
TIMEOUT_SECONDS = 20.0
# What a loaded machine may add to a deadline: far less than who heeds none would wait.
SLACK_SECONDS = 10.0
RECOVERY_SECONDS = 20.0


@dataclass
class Bench:
    """A store behind a proxy, with what it counted."""

    store: RedisStore
    registry: Registry
    proxy: TcpProxy
    server: RedisServer
    clock: SystemClock

    async def charge(self, seconds: float = DEADLINE_SECONDS, key: str = "k") -> Outcome:
        ledger = Ledger([Charge(key, 1, 10, 100)], self.clock.steady() + seconds)
        return (await self.store.charge([ledger], 0.0))[0]

    async def recover(self) -> None:
        async with asyncio.timeout(RECOVERY_SECONDS):
            while isinstance(await self.charge(1.0), StoreError):  # noqa: ASYNC110 - a condition elsewhere
                await asyncio.sleep(0.01)

    async def wait_for(self, name: str, value: float) -> None:
        async with asyncio.timeout(RECOVERY_SECONDS):
            while self.metric(name) != value:  # noqa: ASYNC110 - a condition elsewhere
                await asyncio.sleep(0.005)

    def metric(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in self.registry.samples()
            if sample.name == f"ratelimit.{name}" and labels.items() <= sample.labels.items()
        )


@pytest.fixture
async def bench(proxy: TcpProxy, redis_server: RedisServer) -> AsyncIterator[Bench]:
    registry, clock = Registry(), SystemClock()
    settings = RedisSettings(
        socket_type="tcp",
        url=SecretStr(proxy.address),
        timeout=TIMEOUT_SECONDS,
        breaker_failures=3,
        breaker_probe_interval=0.02,
        in_flight_max=16,
    )
    store = RedisStore(settings, None, registry, clock)
    await store.start()
    made = Bench(store, registry, proxy, redis_server, clock)
    assert await made.charge(5.0) == [(0, 1)]
    yield made
    await store.stop()


Break = Callable[[Bench], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    name: str
    break_it: Break
    mend_it: Break
    answer: type[StoreError]
    pool_errors: str
    """Kind counted by the connections; empty: they did their work."""
    deadline_seconds: float = 2 * TIMEOUT_SECONDS
    """Long where the answer must not wait for it."""


def through(fault: Fault) -> tuple[Break, Break]:
    return (lambda bench: bench.proxy.turn(fault)), (lambda bench: bench.proxy.turn(Fault.PASS))


def asking(*broken: Sequence[str], mended: Sequence[str]) -> tuple[Break, Break]:
    async def break_it(bench: Bench) -> None:
        for command in broken:
            bench.server.ask(*command)

    async def mend_it(bench: Bench) -> None:
        bench.server.ask(*mended)

    return break_it, mend_it


async def go_away(bench: Bench) -> None:
    bench.server.stop()
    await bench.wait_for("redis_pool.cx_active", 0)


async def come_back(bench: Bench) -> None:
    bench.server.start()


ROWS = [
    Row("refused", *through(Fault.REFUSE), StoreUnavailable, "no_connection"),
    Row("slow", *through(Fault.DELAY), StoreTimeout, "no_answer", DEADLINE_SECONDS),
    Row("cut mid-reply", *through(Fault.CUT), StoreTimeout, "no_answer"),
    Row("silent", *through(Fault.HOLE), StoreTimeout, "no_answer", DEADLINE_SECONDS),
    Row("garbage", *through(Fault.GARBAGE), StoreTimeout, "no_answer", DEADLINE_SECONDS),
    Row("restarted", go_away, come_back, StoreUnavailable, "no_connection"),
    Row(
        "read-only",
        *asking(("REPLICAOF", "127.0.0.1", "1"), mended=("REPLICAOF", "NO", "ONE")),
        StoreUnavailable,
        "not_ready",
    ),
    Row(
        "out of memory",
        *asking(("CONFIG", "SET", "maxmemory", "1"), mended=("CONFIG", "SET", "maxmemory", "0")),
        StoreRefused,
        "",
    ),
]
BY_NAME = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
KINDS = {StoreTimeout: "timeout", StoreUnavailable: "unavailable", StoreRefused: "refused"}


@BY_NAME
async def test_the_answer_says_whether_it_happened(bench: Bench, row: Row) -> None:
    bench.proxy._delay_seconds = 2 * DEADLINE_SECONDS
    await row.break_it(bench)

    assert type(await bench.charge(row.deadline_seconds)) is row.answer


@BY_NAME
async def test_nobody_waits_beyond_the_deadline(bench: Bench, row: Row) -> None:
    bench.proxy._delay_seconds = 2 * DEADLINE_SECONDS
    await row.break_it(bench)
    start = time.perf_counter()
    await asyncio.gather(*(bench.charge(row.deadline_seconds) for _ in range(5)))

    assert time.perf_counter() - start < DEADLINE_SECONDS + SLACK_SECONDS


@BY_NAME
async def test_it_is_counted(bench: Bench, row: Row) -> None:
    bench.proxy._delay_seconds = 2 * DEADLINE_SECONDS
    await row.break_it(bench)
    await bench.charge(row.deadline_seconds)

    counted = bench.metric("store.errors", kind=KINDS[row.answer])
    by_pool = bench.metric("redis_pool.errors", kind=row.pool_errors) if row.pool_errors else 1
    assert (counted, by_pool >= 1) == (1, True)


@BY_NAME
async def test_it_recovers_by_itself(bench: Bench, row: Row) -> None:
    await row.break_it(bench)
    for _ in range(4):
        await bench.charge(0.05)
    await row.mend_it(bench)
    await bench.recover()

    assert bench.store.is_healthy


async def test_what_the_server_refuses_is_told_in_its_words(bench: Bench) -> None:
    bench.server.ask("CONFIG", "SET", "maxmemory", "1")

    refused = await bench.charge(5.0)

    assert repr(refused) == repr(StoreRefused("OOM command not allowed when used memory > 'maxmemory'."))


async def test_a_call_that_times_out_leaves_the_others_alone(bench: Bench) -> None:
    await bench.proxy.turn(Fault.DELAY)
    early, late = await asyncio.gather(bench.charge(0.03), bench.charge(10.0))

    assert (type(early), type(late)) == (StoreTimeout, list)


async def test_a_restarted_server_costs_no_call(bench: Bench) -> None:
    bench.server.stop()
    await bench.wait_for("redis_pool.cx_active", 0)
    bench.server.start()

    assert await bench.charge(10.0) == [(0, 1)]


async def test_a_connection_that_broke_while_idle_costs_no_call(bench: Bench) -> None:
    await bench.proxy.cut()

    assert await bench.charge(10.0) in ([(1, 2)], [(0, 1)])


async def test_a_restart_is_bridged_within_the_deadline(bench: Bench) -> None:
    bench.server.stop()
    await bench.wait_for("redis_pool.cx_active", 0)
    call = asyncio.create_task(bench.charge(5.0))
    await asyncio.to_thread(bench.server.start)

    assert type(await call) in {list, StoreUnavailable}


async def test_an_open_breaker_answers_at_once(bench: Bench) -> None:
    await bench.proxy.turn(Fault.HOLE)
    await asyncio.gather(*(bench.charge(0.05) for _ in range(3)))
    start = time.perf_counter()
    outcomes = [await bench.charge(2 * TIMEOUT_SECONDS) for _ in range(100)]

    is_quick = time.perf_counter() - start < SLACK_SECONDS
    assert (is_quick, {type(outcome) for outcome in outcomes}) == (True, {StoreUnavailable})


async def test_an_open_breaker_is_told_to_health(bench: Bench) -> None:
    await bench.proxy.turn(Fault.HOLE)
    await asyncio.gather(*(bench.charge(0.05) for _ in range(3)))

    assert (bench.store.is_healthy, bench.metric("redis_pool.breakers_open")) == (False, 1)


async def test_health_learns_of_an_outage_without_a_call(bench: Bench) -> None:
    await bench.proxy.turn(Fault.REFUSE)

    await bench.wait_for("redis_pool.breakers_open", 1)

    assert not bench.store.is_healthy


async def test_a_breaker_closes_without_a_call(bench: Bench) -> None:
    await bench.proxy.turn(Fault.HOLE)
    await asyncio.gather(*(bench.charge(0.05) for _ in range(3)))
    await bench.proxy.turn(Fault.PASS)

    await bench.wait_for("redis_pool.breakers_open", 0)

    assert bench.store.is_healthy


async def test_answers_that_come_too_late_show_that_it_is_alive(bench: Bench) -> None:
    await bench.proxy.turn(Fault.DELAY)
    for _ in range(6):
        await bench.charge(0.01)
        await bench.wait_for("redis_pool.in_flight", 0)

    assert bench.metric("redis_pool.breakers_open") == 0


async def test_no_more_is_under_way_than_the_bound_says(bench: Bench) -> None:
    await bench.proxy.turn(Fault.HOLE)
    calls = [asyncio.create_task(bench.charge(0.1)) for _ in range(100)]
    outcomes = await asyncio.gather(*calls)

    kinds = [type(outcome) for outcome in outcomes]
    assert (kinds.count(StoreTimeout), kinds.count(StoreUnavailable)) == (16, 84)


async def test_an_outage_piles_nothing_up(bench: Bench) -> None:
    await bench.proxy.turn(Fault.HOLE)
    end = bench.clock.steady() + 2.0
    in_flight: list[float] = []
    tasks: list[int] = []

    async def call_on() -> None:
        while bench.clock.steady() < end:
            await bench.charge(0.02)
            in_flight.append(bench.metric("redis_pool.in_flight"))
            tasks.append(len(asyncio.all_tasks()))
            await asyncio.sleep(0.01)

    await asyncio.gather(*(call_on() for _ in range(50)))

    assert (max(in_flight) <= 16, max(tasks) < 80) == (True, True), (max(in_flight), max(tasks))


async def test_a_connection_that_is_silent_for_too_long_is_let_go(proxy: TcpProxy) -> None:
    """However many failures the breaker bears: another server may stand behind the address by now."""
    registry, clock = Registry(), SystemClock()
    patient = RedisSettings(
        socket_type="tcp", url=SecretStr(proxy.address), timeout=0.1, breaker_failures=100, breaker_probe_interval=60.0
    )
    store = RedisStore(patient, None, registry, clock)
    await store.start()
    await proxy.turn(Fault.HOLE)

    ledger = Ledger([Charge("k", 1, 10, 100)], clock.steady() + 0.2)
    (outcome,) = await store.charge([ledger], 0.0)

    closed = next(one.value for one in registry.samples() if one.name == "ratelimit.redis_pool.cx_local_close")
    await store.stop()
    assert (type(outcome), closed) == (StoreTimeout, 1)


async def test_a_server_that_loads_is_waited_for(bench: Bench) -> None:
    bench.server.ask("EVAL", "for i = 1, 3000 do redis.call('SET', 'x' .. i, i) end", 0)
    bench.server.ask("SAVE")
    bench.server.stop()
    bench.server.options = ("--key-load-delay", "300", "--loading-process-events-interval-bytes", "1024")
    bench.server.spawn()

    async with asyncio.timeout(RECOVERY_SECONDS):
        while "LOADING" not in str(loading := await bench.charge(0.05)):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
    await bench.recover()

    assert type(loading) is StoreUnavailable


async def test_a_replica_that_answers_probes_does_not_close_the_breaker(bench: Bench) -> None:
    bench.server.ask("REPLICAOF", "127.0.0.1", "1")
    await bench.charge(10.0)
    failed = bench.metric("redis_pool.errors", kind="not_ready")

    async with asyncio.timeout(RECOVERY_SECONDS):
        while bench.metric("redis_pool.errors", kind="not_ready") < failed + 5:
            assert not bench.store.is_healthy
            await asyncio.sleep(0.005)
    start = time.perf_counter()
    assert type(await bench.charge(2 * TIMEOUT_SECONDS)) is StoreUnavailable
    assert time.perf_counter() - start < SLACK_SECONDS


async def test_what_is_under_way_when_a_server_turns_read_only_is_answered(bench: Bench) -> None:
    bench.server.ask("REPLICAOF", "127.0.0.1", "1")

    outcomes = await asyncio.gather(*(bench.charge(10.0, f"k{number}") for number in range(16)))

    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
