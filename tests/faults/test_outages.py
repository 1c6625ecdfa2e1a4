"""Redis is away: what each rule answers, and what becomes of the charges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from ratelimit.accounting import StatsTable
from ratelimit.descriptor import Descriptor, Phase, Request
from ratelimit.draw import Op
from ratelimit.drawing import Wish
from ratelimit.errors import StoreError, StoreUnavailable
from ratelimit.limiter import Ask, Limiter
from ratelimit.limits import Windows
from ratelimit.outage import Outage
from ratelimit.plan import Planner
from ratelimit.settings import ModeSettings
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.redis import RedisStore
from ratelimit.verdict import NO_LIMIT, UNLIMITED, Verdict
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.settings import RedisSettings
from tests.fakes.redis_servers import RedisServer
from tests.fakes.rules import read_rules
from tests.fakes.tcp_proxy import Fault, TcpProxy

RULES = read_rules("""
domain: d
descriptors:
  - key: error
    rate_limit: { unit: day, requests_per_unit: 8 }
  - key: open
    rate_limit: { unit: day, amount: 8, on_store_error: open }
  - key: closed
    rate_limit: { unit: day, amount: 8, on_store_error: closed }
  - key: local
    rate_limit: { unit: day, amount: 8, on_store_error: { local: 0.5 } }
  - key: kept
    rate_limit: { window: 2h, amount: 8, algorithm: sliding_window, on_store_error: { local: 0.5 } }
  - key: free
    rate_limit: { unlimited: true }
  - key: reserving
    rate_limit: { unit: day, amount: 8, reserve: { default: 2 }, on_store_error: open }
  - key: stopping
    rate_limit: { unit: day, amount: 8, reserve: { default: 2 }, on_store_error: closed }
""")
REPLAY_MAX = 3
# Whoever asks a Redis that is silent waits for the shorter one; a machine under load does not stand still for as long.
DEADLINE_SECONDS, TIMEOUT_SECONDS = 10.0, 2.0
RECOVERY_SECONDS = 20.0


@dataclass
class Bench:
    limiter: Limiter
    clock: SystemClock
    registry: Registry
    proxy: TcpProxy
    server: RedisServer

    async def ask(
        self,
        *keys: str,
        hits: int = 1,
        phase: Phase = Phase.UNSAID,
        wish: Wish | None = None,
        request_id: str = "",
    ) -> Verdict | StoreError:
        descriptors = tuple(Descriptor(((key, "x"),), hits, phase=phase) for key in keys)
        plan = Planner().plan(Request("d", descriptors), RULES, is_explicit=wish is not None)
        ask = Ask(plan, 1, self.clock.steady() + DEADLINE_SECONDS, request_id, wish)
        return (await self.limiter.decide([ask], ModeSettings()))[0]

    async def passes(self, *keys: str, hits: int = 1, phase: Phase = Phase.UNSAID) -> bool | None:
        """Return None for an error."""
        verdict = await self.ask(*keys, hits=hits, phase=phase)
        return None if isinstance(verdict, StoreError) else not verdict.is_over

    def metric(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in self.registry.samples()
            if sample.name == f"weir.store_error.{name}" and labels.items() <= sample.labels.items()
        )

    async def until(self, name: str, value: float) -> None:
        async with asyncio.timeout(RECOVERY_SECONDS):
            while self.metric(name) != value:  # noqa: ASYNC110 - a condition elsewhere
                await asyncio.sleep(0.005)

    async def recover(self) -> None:
        async with asyncio.timeout(RECOVERY_SECONDS):
            while await self.passes("error", hits=0) is None:  # noqa: ASYNC110 - a condition elsewhere
                await asyncio.sleep(0.01)

    async def refuse(self) -> None:
        """Have Redis refuse connections, and be known to."""
        await self.proxy.turn(Fault.REFUSE)
        async with asyncio.timeout(RECOVERY_SECONDS):
            while await self.passes("error", hits=0) is not None:  # noqa: ASYNC110 - a condition elsewhere
                await asyncio.sleep(0.01)


@pytest.fixture
async def bench(proxy: TcpProxy, redis_server: RedisServer) -> AsyncIterator[Bench]:
    registry, clock = Registry(), SystemClock()
    settings = RedisSettings(
        socket_type="tcp",
        url=SecretStr(proxy.address),
        timeout=TIMEOUT_SECONDS,
        breaker_failures=3,
        breaker_probe_interval=0.02,
    )
    store = RedisStore(settings, None, registry, clock)
    await store.start()
    outage = Outage(store, MemoryStore(1_000), clock, registry, replay_max=REPLAY_MAX)
    stats = StatsTable(series_max=100, domains_max=10, ttl_seconds=60)
    limiter = Limiter(store, clock, stats, windows=Windows(), outage=outage)
    yield Bench(limiter, clock, registry, proxy, redis_server)
    await outage.stop()
    await store.stop()


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.HOLE, Fault.GARBAGE], ids=lambda fault: fault.value)
async def test_a_rule_says_what_is_answered_without_counters(bench: Bench, fault: Fault) -> None:
    await bench.passes("error", hits=0)
    await bench.proxy.turn(fault)

    answers = await asyncio.gather(*(bench.passes(key) for key in ("error", "open", "closed")))

    assert answers == [None, True, False]


async def test_the_strictest_rule_of_a_request_decides(bench: Bench) -> None:
    await bench.refuse()

    assert await bench.passes("open", "error") is None
    assert await bench.passes("open", "closed") is False


async def test_what_nothing_limits_passes_beside_what_needs_no_counters(bench: Bench) -> None:
    await bench.refuse()

    verdict = await bench.ask("open", "free", "nothing")

    assert isinstance(verdict, Verdict)
    assert verdict.statuses[1:] == [UNLIMITED, NO_LIMIT]


async def test_who_says_what_he_wants_hears_of_the_outage_whatever_the_rule_says(bench: Bench) -> None:
    await bench.refuse()

    answers = [await bench.ask("open", wish=wish) for wish in (None, Wish(Op.FORCE))]

    assert [type(answer) for answer in answers] == [Verdict, StoreUnavailable]


@pytest.mark.parametrize("key", ["local", "kept"])
async def test_a_share_of_the_limit_is_counted_here(bench: Bench, key: str) -> None:
    await bench.refuse()

    answers = [await bench.passes(key) for _ in range(6)]

    assert answers == [True] * 4 + [False] * 2


async def test_what_was_let_through_is_charged_when_redis_is_back(bench: Bench) -> None:
    await bench.passes("open", hits=3)
    await bench.refuse()
    await bench.passes("open", hits=2)
    await bench.passes("reserving", hits=5, phase=Phase.CHARGE)
    await bench.proxy.turn(Fault.PASS)
    await bench.until("hits_replayed", 7)
    await bench.recover()

    verdict = await bench.ask("open", "reserving", hits=0, phase=Phase.LOOK)

    assert not isinstance(verdict, StoreError)
    assert [status.remaining for status in verdict.statuses] == [3, 3]


async def test_a_charge_that_redis_refuses_when_it_is_back_is_told_as_lost(bench: Bench) -> None:
    await bench.refuse()
    await bench.passes("open", hits=2)
    bench.server.ask("CONFIG", "SET", "maxmemory", "1")
    await bench.proxy.turn(Fault.PASS)

    await bench.until("hits_lost", 2)

    assert bench.metric("hits_replayed") == 0


async def test_a_look_leaves_nothing_to_charge(bench: Bench) -> None:
    await bench.refuse()

    assert await bench.passes("open", hits=0)
    assert (bench.metric("charges_waiting"), bench.metric("hits_lost")) == (0, 0)


async def test_charges_that_wait_are_bounded_and_the_oldest_are_told_as_lost(bench: Bench) -> None:
    await bench.refuse()

    for hits in (1, 10, 100, 1_000, 10_000):
        await bench.passes("open", hits=hits)

    assert (bench.metric("charges_waiting"), bench.metric("hits_lost")) == (REPLAY_MAX, 11)


async def test_what_may_have_happened_is_never_charged_again(bench: Bench) -> None:
    await bench.passes("open", hits=0)
    await bench.proxy.turn(Fault.HOLE)

    await bench.passes("open", hits=4)

    assert (bench.metric("charges_waiting"), bench.metric("hits_lost")) == (0, 4)


async def test_a_refused_request_leaves_nothing_to_charge(bench: Bench) -> None:
    await bench.refuse()

    await bench.passes("closed", hits=4)

    assert (bench.metric("charges_waiting"), bench.metric("hits_lost")) == (0, 0)


async def test_a_charge_that_only_its_id_tells_from_a_hold_is_charged_when_redis_is_back(bench: Bench) -> None:
    await bench.ask("reserving", hits=0, request_id="held before")
    await bench.refuse()
    await bench.ask("reserving", hits=3, request_id="held before")
    await bench.ask("reserving", hits=0, request_id="began meanwhile")
    await bench.ask("reserving", hits=4, request_id="began meanwhile")
    await bench.proxy.turn(Fault.PASS)
    await bench.until("hits_replayed", 7)
    await bench.recover()

    verdict = await bench.ask("reserving", hits=0, phase=Phase.LOOK)

    assert not isinstance(verdict, StoreError)
    assert (verdict.statuses[0].remaining, bench.metric("hits_lost")) == (1, 0)


async def test_a_hold_that_is_left_out_is_no_charge_that_is_lost(bench: Bench) -> None:
    await bench.refuse()

    for number in range(REPLAY_MAX + 1):
        await bench.ask("reserving", hits=0, request_id=f"r{number}")

    assert (bench.metric("charges_waiting"), bench.metric("hits_lost")) == (REPLAY_MAX, 0)


async def test_what_is_refused_and_may_have_been_a_charge_is_told_as_lost(bench: Bench) -> None:
    await bench.refuse()

    answers = [
        await bench.ask("stopping", hits=0, request_id="check"),
        await bench.ask("stopping", hits=3, request_id="charge?"),
    ]

    assert [isinstance(answer, Verdict) and answer.is_over for answer in answers] == [True, True]
    assert (bench.metric("charges_waiting"), bench.metric("hits_lost")) == (0, 3)
