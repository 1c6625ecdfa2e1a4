"""Clients that spend by blocks never spend more than the limit together, whatever they do and whenever they die."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.ratelimit.v1 import limiter_pb2 as wire
from ratelimit.client.block import Block
from ratelimit.client.lease import Lease
from ratelimit.client.values import Answer, read_answer
from tests.fakes.clock import FakeClock
from tests.fakes.desks import Apis

LIMIT = 100
MINUTE = 60.0
TTL = 5.0
CLIENTS = 3

RULES = {
    "plain": "{unit: minute, requests_per_unit: 100}",
    "window": "{window: 1m, amount: 100, on_deny: keep}",
    "two": "{limits: [{unit: minute, amount: 60}, {unit: hour, amount: 100}]}",
    "sliding": "{window: 1m, amount: 100, algorithm: sliding_window}",
    "bucket": "{window: 1m, amount: 100, burst: 50, algorithm: token_bucket}",
}

steps = st.lists(
    st.one_of(
        st.tuples(st.just("spend"), st.integers(0, CLIENTS - 1), st.integers(1, 12)),
        st.tuples(st.just("spend"), st.integers(0, CLIENTS - 1), st.integers(1, 60)),
        st.tuples(st.just("advance"), st.just(0), st.sampled_from([1, 2, 4, 40, 300])),
        st.tuples(st.just("close"), st.integers(0, CLIENTS - 1), st.just(0)),
        st.tuples(st.just("die"), st.integers(0, CLIENTS - 1), st.just(0)),
    ),
    min_size=10,
    max_size=40,
)


class World:
    """A service, clients far from it, and everything that they spent."""

    def __init__(self, rule: str, seed: int) -> None:
        # Not at the start of a window.
        self.clock = FakeClock(1_700_007_600.0 + 47.3)
        self.apis = Apis(
            f"domain: llm\ndescriptors:\n  - {{key: tenant, rate_limit: {RULES[rule]}}}\n", clock=self.clock
        )
        self.random = random.Random(seed)
        self.spent: list[tuple[float, int]] = []
        self.decided_at = 0.0
        self.leases = [self.lease() for _ in range(CLIENTS)]

    def lease(self) -> Lease:
        return Lease(Block(TTL, 1_000, 0.3), self.charge, self.refund, self.clock)

    async def charge(self, tokens: int) -> Answer:
        request = wire.ChargeRequest(**self.asked(tokens))
        self.travel()
        self.decided_at = self.clock.wall()
        response = await self.apis.ask("Charge", request, wire.ChargeResponse)
        self.travel()
        return read_answer(response.verdict)

    async def refund(self, tokens: int, seconds: float) -> bool:
        # On the way for less than it may: what comes later is refused by its deadline.
        self.clock.advance(self.random.random() * min(seconds, 0.3))
        await self.apis.ask("Refund", wire.RefundRequest(**self.asked(tokens)), wire.RefundResponse)
        return True

    def asked(self, tokens: int) -> dict[str, object]:
        entries = [wire.Entry(key="tenant", value="acme")]
        return {
            "domain": "llm",
            "descriptors": [wire.Descriptor(entries=entries)],
            "amount": wire.Amount(hits=tokens),
        }

    def travel(self) -> None:
        self.clock.advance(self.random.choice([0.0, 0.01, 0.4]))

    async def do(self, kind: str, client: int, number: int) -> None:
        lease = self.leases[client]
        if kind == "advance":
            self.clock.advance(number * 0.7)
        elif kind == "spend":
            self.decided_at = self.clock.wall()
            if await lease.try_spend(number):
                self.spent.append((self.decided_at, number))
        else:
            if kind == "close":
                await lease.close()
            self.leases[client] = self.lease()

    def most(self, seconds: float) -> int:
        """Return the most that was spent in any interval of a length."""
        return max(
            (sum(n for at, n in self.spent if start <= at < start + seconds) for start, _ in self.spent), default=0
        )

    def by_window(self, seconds: int) -> list[int]:
        windows = {int(at) // seconds for at, _ in self.spent}
        return [sum(n for at, n in self.spent if int(at) // seconds == window) for window in windows]


async def live(rule: str, script: list[tuple[str, int, int]], seed: int) -> World:
    world = World(rule, seed)
    await world.apis.start()
    for kind, client, number in script:
        await world.do(kind, client, number)
    return world


@pytest.mark.parametrize("rule", ["plain", "window"])
@settings(max_examples=40, deadline=None)
@given(script=steps, seed=st.integers(0, 1_000))
def test_no_window_holds_more_than_the_limit(rule: str, script: list[tuple[str, int, int]], seed: int) -> None:
    world = asyncio.run(live(rule, script, seed))

    assert all(spent <= LIMIT for spent in world.by_window(60))


@settings(max_examples=40, deadline=None)
@given(script=steps, seed=st.integers(0, 1_000))
def test_of_two_limits_neither_is_exceeded(script: list[tuple[str, int, int]], seed: int) -> None:
    world = asyncio.run(live("two", script, seed))

    assert all(spent <= 60 for spent in world.by_window(60))
    assert all(spent <= LIMIT for spent in world.by_window(3_600))


@settings(max_examples=40, deadline=None)
@given(script=steps, seed=st.integers(0, 1_000))
def test_of_a_sliding_window_an_interval_holds_the_limit_of_the_blocks_time_longer(
    script: list[tuple[str, int, int]], seed: int
) -> None:
    world = asyncio.run(live("sliding", script, seed))

    assert world.most(MINUTE - TTL) <= LIMIT


@settings(max_examples=40, deadline=None)
@given(script=steps, seed=st.integers(0, 1_000))
def test_a_bucket_lets_through_what_it_fills_and_holds(script: list[tuple[str, int, int]], seed: int) -> None:
    world = asyncio.run(live("bucket", script, seed))

    for seconds in (0.5, 5.0, 20.0, 60.0, 200.0):
        # 2: what is rounded at both ends.
        assert world.most(seconds) <= 50 + LIMIT / MINUTE * (seconds + TTL) + 2
