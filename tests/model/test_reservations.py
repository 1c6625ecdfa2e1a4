"""Reservations against a model that is too simple to be wrong: sums by window, and a list of holds.

No admission leaves spent + held above the limit, every hold ends once, and a settlement counts once, whatever happens in
between: windows end, holds expire, limits change, replicas are replaced.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from math import floor

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from protos.ratelimit.v1 import limiter_pb2 as wire
from tests.fakes.clock import FakeClock
from tests.fakes.desks import Apis

WINDOWS = {"plain": 60, "own": 300}
HOLD_SECONDS = {"plain": 120, "own": 30}
SHARES = {"plain": 1.0, "own": 0.5}
# Settlements are remembered ten times as long as the shorter hold lives.
AGE_MAX_SECONDS = 250

keys = st.sampled_from(sorted(WINDOWS))
amounts = st.integers(1, 70)


def rules(limits: dict[str, int]) -> str:
    return f"""
domain: llm
descriptors:
  - key: plain
    rate_limit: {{unit: minute, requests_per_unit: {limits["plain"]}}}
  - key: own
    rate_limit: {{amount: {limits["own"]}, window: 5m, reserve: {{ttl: 30s, max_fraction: 0.5}}}}
"""


@dataclass
class Held:
    """A reservation as the model knows it."""

    key: str
    id: str
    window: int
    amount: int
    actual: int
    born: float
    is_live: bool = True
    is_settled: bool = False


class Reservations(RuleBasedStateMachine):
    """Replicas over one memory, and the model."""

    reservations = Bundle("reservations")

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.limits = {"plain": 100, "own": 100}
        self.spent: dict[tuple[str, int], int] = {}
        self.holds: list[Held] = []
        self.apis = Apis(rules(self.limits), clock=self.clock)
        self.runner.run(self.apis.start())

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()

    def window(self, key: str) -> tuple[str, int]:
        return key, int(self.clock.wall()) // WINDOWS[key]

    def expire(self) -> None:
        for hold in self.holds:
            hold.is_live = hold.is_live and self.clock.wall() < hold.born + HOLD_SECONDS[hold.key]

    def stands(self, key: str) -> tuple[int, int]:
        self.expire()
        held = sum(hold.amount for hold in self.holds if hold.is_live and (hold.key, hold.window) == self.window(key))
        return self.spent.get(self.window(key), 0), held

    def add(self, window: tuple[str, int], hits: int) -> None:
        self.spent[window] = max(0, self.spent.get(window, 0) + hits)

    def fits(self, key: str, hits: int) -> bool:
        return sum(self.stands(key)) + hits <= self.limits[key]

    def common(self, key: str, hits: int) -> dict[str, object]:
        wanted = wire.Descriptor(entries=[wire.Entry(key=key, value="a")])
        return {"domain": "llm", "descriptors": [wanted], "amount": wire.Amount(hits=hits)}

    @rule(target=reservations, key=keys, hits=amounts, actual=amounts)
    def reserve(self, key: str, hits: int, actual: int) -> object:
        granted = min(hits, max(1, floor(SHARES[key] * self.limits[key])))
        is_expected = self.fits(key, granted)
        request = wire.ReserveRequest(**self.common(key, hits))
        response = self.runner.run(self.apis.ask("Reserve", request, wire.ReserveResponse))

        assert (response.verdict.code == wire.CODE_OK) == is_expected
        if not is_expected:
            return multiple()
        assert response.granted == granted
        hold = Held(key, response.reservation_id, self.window(key)[1], granted, actual, self.clock.wall())
        self.holds.append(hold)
        assert sum(self.stands(key)) <= self.limits[key]
        return hold

    @rule(hold=reservations)
    def settle(self, hold: Held) -> None:
        if self.clock.wall() - hold.born > AGE_MAX_SECONDS:
            return
        self.expire()
        request = wire.SettleRequest(reservation_id=hold.id, amount=wire.Amount(hits=hold.actual))
        response = self.runner.run(self.apis.ask("Settle", request, wire.SettleResponse))

        assert response.held == hold.is_live
        if not hold.is_settled:
            self.add((hold.key, hold.window), hold.actual)
        hold.is_live, hold.is_settled = False, True

    @rule(hold=reservations)
    def release(self, hold: Held) -> None:
        if self.clock.wall() - hold.born > AGE_MAX_SECONDS:
            return
        self.expire()
        request = wire.ReleaseRequest(reservation_id=hold.id)
        response = self.runner.run(self.apis.ask("Release", request, wire.ReleaseResponse))

        assert response.held == hold.is_live
        hold.is_live = False

    @rule(key=keys, hits=amounts, force=st.booleans())
    def charge(self, key: str, hits: int, *, force: bool) -> None:
        is_done = force or self.fits(key, hits)
        request = wire.ChargeRequest(**self.common(key, hits), force=force)
        response = self.runner.run(self.apis.ask("Charge", request, wire.ChargeResponse))

        assert force or (response.verdict.code == wire.CODE_OK) == is_done
        if is_done:
            self.add(self.window(key), hits)

    @rule(key=keys, hits=amounts)
    def refund(self, key: str, hits: int) -> None:
        self.runner.run(self.apis.ask("Refund", wire.RefundRequest(**self.common(key, hits)), wire.RefundResponse))
        self.add(self.window(key), -hits)

    @rule(seconds=st.sampled_from([1, 7, 31, 61, 121, 301]))
    def turn_the_clock(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(key=keys, limit=st.integers(1, 150))
    def change_a_limit(self, key: str, limit: int) -> None:
        self.limits[key] = limit
        self.runner.run(self.apis.load(rules(self.limits)))

    @rule()
    def replace_the_replica(self) -> None:
        self.apis = Apis(rules(self.limits), store=self.apis.store, clock=self.clock)
        self.runner.run(self.apis.start())

    @invariant()
    def counters_are_as_the_model_says(self) -> None:
        if not hasattr(self, "apis"):
            return
        for key in WINDOWS:
            request = wire.CheckRequest(**self.common(key, 0))
            response = self.runner.run(self.apis.ask("Check", request, wire.CheckResponse))
            (counter,) = response.verdict.statuses[0].counters

            assert (counter.spent, counter.held) == self.stands(key)


TestReservations = Reservations.TestCase
TestReservations.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
