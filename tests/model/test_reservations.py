"""Reservations against a model that anybody can check by eye: spent and held as plain numbers, holds by their id.

What is promised: no admission leaves spent + held above the limit; every hold ends once, settled, released or
expired; what is spent is what was charged, in the window that admitted it; whatever restarts, lowers its limit or
comes late.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from pydantic import SecretStr

from ratelimit.draw import MEMORY_LIVES, Algorithm, Draw, Op, Standing, Terms
from ratelimit.errors import StoreError
from ratelimit.store import Admission, Store
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.redis import RedisStore
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.settings import RedisSettings
from tests.fakes.redis_servers import RedisServer, running

WINDOW_SECONDS = 60
TTL_SECONDS = 25
TERMS = Terms(Algorithm.FIXED_WINDOW, 100, 0, 100, hold_ms=TTL_SECONDS * 1000, hold_max=80)

ids = st.sampled_from(["a", "b", "c", "d", "e"])
hits = st.integers(1, 120)


@dataclass(frozen=True)
class Held:
    amount: int
    window: int
    until: int


class Model:
    """What the contract says, in the plainest words."""

    def __init__(self) -> None:
        self.spent: Counter[int] = Counter()
        self.holds: dict[str, Held] = {}
        self.known: dict[str, int] = {}

    def held(self, window: int) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.window == window)

    def turn(self, now: int) -> None:
        """Let end what is due; a hold that ends is remembered ten lives longer."""
        for name in [name for name, hold in self.holds.items() if hold.until <= now]:
            self.known[name] = self.holds.pop(name).until + MEMORY_LIVES * TTL_SECONDS
        for name in [name for name, until in self.known.items() if until <= now]:
            del self.known[name]

    def end(self, name: str, now: int) -> Held | None:
        hold = self.holds.pop(name, None)
        if hold is not None:
            self.known[name] = now + MEMORY_LIVES * TTL_SECONDS
        return hold


Open = Callable[[], Store]


class Machine(RuleBasedStateMachine):
    """Does everything to both, and compares."""

    def __init__(self, runner: asyncio.Runner, open_store: Open, *, survives: bool) -> None:
        super().__init__()
        self.runner = runner
        self.open_store = open_store
        self.survives = survives
        self.store = open_store()
        runner.run(self.store.start())
        self.model = Model()
        self.stem = f"{{{uuid.uuid4().hex}}}k"
        self.now = 1_700_007_200
        self.terms = TERMS

    def teardown(self) -> None:
        self.runner.run(self.store.stop())

    @property
    def window(self) -> int:
        return self.now // WINDOW_SECONDS * WINDOW_SECONDS

    def ask(self, op: Op, hits: int, name: str = "") -> Standing:
        draw = Draw(self.stem, op, hits, self.terms, id=name, start=self.window, end=self.window + WINDOW_SECONDS)
        asked = self.store.admit((), [Admission([draw], math.inf, is_kept=True)], float(self.now))
        _, [outcome] = self.runner.run(asked)
        assert not isinstance(outcome, StoreError)
        self.model.turn(self.now)
        return outcome[0]

    def agree(self, standing: Standing) -> None:
        assert (standing.after, standing.held) == (self.model.spent[self.window], self.model.held(self.window))

    def admitted(self, standing: Standing) -> None:
        assert standing.after + standing.held <= self.terms.capacity

    @rule(name=ids, estimate=hits)
    def reserve(self, name: str, estimate: int) -> None:
        standing = self.ask(Op.RESERVE, estimate, name)

        amount = min(estimate, self.terms.hold_max)
        if name in self.model.holds:
            assert not standing.is_over
        else:
            used = self.model.spent[self.window] + self.model.held(self.window)
            assert standing.is_over is (used + amount > self.terms.capacity)
            if not standing.is_over:
                self.model.known.pop(name, None)
                self.model.holds[name] = Held(amount, self.window, self.now + TTL_SECONDS)
                self.admitted(standing)
        self.agree(standing)

    @rule(name=ids, actual=hits)
    def settle(self, name: str, actual: int) -> None:
        standing = self.ask(Op.SETTLE, actual, name)

        hold = self.model.end(name, self.now)
        self.model.spent[hold.window if hold else self.window] += actual
        self.agree(standing)

    @rule(name=ids)
    def release(self, name: str) -> None:
        standing = self.ask(Op.RELEASE, 0, name)

        self.model.end(name, self.now)
        self.agree(standing)

    @rule(name=ids, tokens=hits)
    def call_as_an_unmodified_envoy(self, name: str, tokens: int) -> None:
        self.model.turn(self.now)
        is_known = name in self.model.holds or name in self.model.known
        (self.settle_auto if is_known else self.reserve_auto)(name, tokens)

    def settle_auto(self, name: str, tokens: int) -> None:
        standing = self.ask(Op.AUTO, tokens, name)
        hold = self.model.end(name, self.now)
        self.model.spent[hold.window if hold else self.window] += tokens
        self.agree(standing)

    def reserve_auto(self, name: str, tokens: int) -> None:
        standing = self.ask(Op.AUTO, tokens, name)
        if not standing.is_over:
            self.model.holds[name] = Held(min(tokens, self.terms.hold_max), self.window, self.now + TTL_SECONDS)
            self.admitted(standing)
        self.agree(standing)

    @rule(tokens=hits)
    def charge(self, tokens: int) -> None:
        standing = self.ask(Op.CHARGE, tokens)

        used = self.model.spent[self.window] + self.model.held(self.window)
        assert standing.is_over is (used + tokens > self.terms.capacity)
        if not standing.is_over:
            self.model.spent[self.window] += tokens
            self.admitted(standing)
        self.agree(standing)

    @rule(tokens=hits)
    def refund(self, tokens: int) -> None:
        standing = self.ask(Op.REFUND, tokens)

        self.model.spent[self.window] -= min(tokens, self.model.spent[self.window])
        self.agree(standing)

    @rule(seconds=st.sampled_from([1, 7, TTL_SECONDS - 1, TTL_SECONDS, WINDOW_SECONDS, MEMORY_LIVES * TTL_SECONDS]))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        self.model.turn(self.now)

    @rule(limit=st.sampled_from([100, 60, 20]))
    def change_the_limit(self, limit: int) -> None:
        self.terms = replace(TERMS, limit=limit, capacity=limit, hold_max=min(TERMS.hold_max, limit))

    @precondition(lambda self: self.survives)
    @rule()
    def restart_the_replica(self) -> None:
        self.runner.run(self.store.stop())
        self.store = self.open_store()
        self.runner.run(self.store.start())


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running() as one:
        yield one


def check(open_store: Open, examples: int, *, survives: bool) -> None:
    with asyncio.Runner() as runner:
        run_state_machine_as_test(
            lambda: Machine(runner, open_store, survives=survives),
            settings=settings(
                max_examples=examples,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_reservations_in_memory_are_those_of_the_model() -> None:
    check(lambda: MemoryStore(1_000), 100, survives=False)


def test_reservations_in_redis_are_those_of_the_model(server: RedisServer) -> None:
    redis = RedisSettings(url=SecretStr(str(server.path)))

    check(lambda: RedisStore(redis, None, Registry(), SystemClock(), is_timed_by_caller=True), 30, survives=True)


@pytest.mark.soak
def test_reservations_are_those_of_the_model_for_a_long_time(server: RedisServer) -> None:
    redis = RedisSettings(url=SecretStr(str(server.path)))

    check(lambda: MemoryStore(1_000), 5_000, survives=False)
    check(lambda: RedisStore(redis, None, Registry(), SystemClock(), is_timed_by_caller=True), 1_000, survives=True)
