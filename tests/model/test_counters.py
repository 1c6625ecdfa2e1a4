"""The counter stores against a model that anybody can check by eye.

The model keeps plain numbers for ever; windows are in the keys, as the limiter has them, so that
time is only what the name of a key says.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from pydantic import SecretStr

from ratelimit.store import Charge, Count, Ledger, Policy, Store
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.redis import RedisStore
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.settings import RedisSettings
from tests.fakes.redis_servers import RedisCluster, RedisServer, running, running_cluster

WINDOW_SECONDS = 60
LIMIT = 10

charges = st.builds(
    Charge,
    key=st.sampled_from("abc"),
    hits=st.integers(0, 12),
    limit=st.just(LIMIT),
    ttl_seconds=st.integers(WINDOW_SECONDS, 2 * WINDOW_SECONDS),
    is_refund=st.integers(0, 4).map(lambda draw: draw == 0),
)
ledgers = st.builds(
    Ledger,
    charges=st.lists(charges, min_size=1, max_size=4),
    deadline=st.just(math.inf),
    policy=st.sampled_from(Policy),
)


class Model:
    """What the contract says, in the plainest words."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def apply(self, ledger: Ledger) -> list[Count]:
        over = self._over(ledger) if ledger.policy is Policy.STOP else []
        outcome = []
        for position, charge in enumerate(ledger.charges):
            before = self.counts[charge.key]
            if charge.is_refund:
                self.counts[charge.key] -= min(charge.hits, before)
            elif not any(over) or over[position]:
                self.counts[charge.key] += charge.hits
            outcome.append((before, self.counts[charge.key]))
        return outcome

    def _over(self, ledger: Ledger) -> list[bool]:
        """Whether each charge would go over, were only the refunds before it made."""
        refunded = Counter(self.counts)
        over = []
        for charge in ledger.charges:
            if charge.is_refund:
                refunded[charge.key] -= min(charge.hits, refunded[charge.key])
            over.append(not charge.is_refund and refunded[charge.key] + charge.hits > charge.limit)
        return over


class Machine(RuleBasedStateMachine):
    """Charges both, and compares."""

    def __init__(self, runner: asyncio.Runner, store: Store) -> None:
        super().__init__()
        self.runner = runner
        self.store = store
        self.model = Model()
        self.prefix = uuid.uuid4().hex
        self.now = 1_700_007_200.0
        self.admitted: Counter[str] = Counter()

    @rule(batch=st.lists(ledgers, min_size=1, max_size=4))
    def charge(self, batch: list[Ledger]) -> None:
        named = [self.named(ledger) for ledger in batch]
        expected = [self.model.apply(ledger) for ledger in named]

        outcomes = [list(outcome) for outcome in self.runner.run(self.store.charge(named, self.now))]  # type: ignore[arg-type]

        assert outcomes == expected
        for ledger, outcome in zip(named, outcomes, strict=True):
            self.admit(ledger, outcome)

    @rule(seconds=st.floats(0.1, 2 * WINDOW_SECONDS))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_count_is_negative(self) -> None:
        assert all(count >= 0 for count in self.model.counts.values())

    @invariant()
    def no_more_is_admitted_than_the_limit(self) -> None:
        assert all(hits <= LIMIT for hits in self.admitted.values())

    def named(self, ledger: Ledger) -> Ledger:
        window = int(self.now) // WINDOW_SECONDS * WINDOW_SECONDS
        mine = [
            Charge(f"{self.prefix}_{charge.key}_{window}", charge.hits, LIMIT, charge.ttl_seconds, charge.is_refund)
            for charge in ledger.charges
        ]
        return Ledger(mine, ledger.deadline, ledger.policy)

    def admit(self, ledger: Ledger, outcome: list[Count]) -> None:
        """Count what the limiter lets pass: a ledger of which nothing ended over its limit. A refund gives room back."""
        is_admitted = all(
            charge.is_refund or after <= charge.limit
            for charge, (_, after) in zip(ledger.charges, outcome, strict=True)
        )
        for charge, (before, after) in zip(ledger.charges, outcome, strict=True):
            if charge.is_refund:
                self.admitted[charge.key] -= before - after
            elif is_admitted:
                self.admitted[charge.key] += charge.hits


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore(100_000)
    options: dict[str, Any]
    if request.param == "cluster":
        url = request.getfixturevalue("cluster").addresses
        options = {"type": "CLUSTER", "socket_type": "tcp"}
    else:
        url = str(request.getfixturevalue("server").path)
        options = {"scripts": "off" if request.param == "plain" else "on"}
    return RedisStore(RedisSettings(url=SecretStr(url), **options), None, Registry(), SystemClock())


@pytest.mark.parametrize("store", ["memory", "redis", "cluster", "plain"], indirect=True)
def test_a_store_counts_as_the_model_does(store: Store) -> None:
    with asyncio.Runner() as runner:
        runner.run(store.start())
        try:
            run_state_machine_as_test(  # type: ignore[no-untyped-call]
                lambda: Machine(runner, store),
                settings=settings(
                    max_examples=30,
                    stateful_step_count=15,
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
                ),
            )
        finally:
            runner.run(store.stop())
