from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence

import pytest

from ratelimit.draw import Algorithm, Draw, Op, Terms
from ratelimit.errors import StoreError, StoreUnavailable
from ratelimit.leasing import LeasingStore
from ratelimit.store import Admission, AdmissionOutcome, Ledger, Outcome
from ratelimit.stores.memory import MemoryStore
from serving.metrics import Registry
from tests.fakes.clock import FakeClock

LIFE_SECONDS = 60.0
TERMS = Terms(Algorithm.FIXED_WINDOW, 1_000, 0, 1_000, lease_ms=int(LIFE_SECONDS * 1000), lease_max=100)


class MaybeAwayStore(MemoryStore):
    """A memory store that may be away for admissions, and tells what it was asked for."""

    def __init__(self) -> None:
        super().__init__(1_000)
        self.is_away = False
        self.leased: list[int] = []

    @property
    def is_healthy(self) -> bool:
        return not self.is_away

    async def admit(
        self, ledgers: Sequence[Ledger], admissions: Sequence[Admission], now: float
    ) -> tuple[Sequence[Outcome], Sequence[AdmissionOutcome]]:
        if self.is_away:
            return [], [StoreUnavailable("away")] * len(admissions)
        self.leased += [draw.hits for each in admissions for draw in each.draws if draw.op is Op.LEASE]
        return await super().admit(ledgers, admissions, now)


class Bench:
    """One replica, on a clock that stands."""

    def __init__(self) -> None:
        self.clock, self.store, self.registry = FakeClock(), MaybeAwayStore(), Registry()
        self.leasing = LeasingStore(self.store, self.clock, self.registry, blocks_max=10)

    async def spend(self, hits: int) -> bool | None:
        """Return whether it passed; None: nobody knows."""
        start = int(self.clock.wall()) // 3600 * 3600
        draw = Draw("{k}", Op.CHARGE, hits, TERMS, start=start, end=start + 3600)
        _, [answer] = await self.leasing.admit((), [Admission([draw], math.inf, is_kept=True)], self.clock.wall())
        return None if isinstance(answer, StoreError) else not answer[0].is_over

    def metric(self, name: str) -> float:
        return next(sample.value for sample in self.registry.samples() if sample.name == f"weir.leases.{name}")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.leasing.stop()


async def test_a_block_doubles_if_it_lasts_less_than_half_its_life(bench: Bench) -> None:
    for _ in range(3):
        await bench.spend(1)

    assert bench.store.leased == [1, 2]


async def test_a_block_that_lasts_longer_stays_as_large_as_it_is(bench: Bench) -> None:
    for _ in range(3):
        await bench.spend(1)
        bench.clock.advance(LIFE_SECONDS / 2)

    assert bench.store.leased == [1, 1, 1]


async def test_what_a_block_can_pay_passes_while_the_store_is_away_and_the_rest_is_unknown(bench: Bench) -> None:
    await bench.spend(1)
    await bench.spend(1)
    bench.store.is_away = True

    assert [await bench.spend(1), await bench.spend(1)] == [True, None]
    assert not bench.leasing.is_healthy


async def test_a_key_of_which_nothing_was_ever_heard_is_unknown_until_it_is(bench: Bench) -> None:
    bench.store.is_away = True
    unknown = [await bench.spend(1), await bench.spend(0)]
    bench.store.is_away = False

    assert (unknown, await bench.spend(1)) == ([None, None], True)


async def test_what_cannot_be_given_back_stays_spent_and_is_told() -> None:
    bench = Bench()
    await bench.spend(1)
    await bench.spend(2)
    await bench.spend(1)
    bench.store.is_away = True

    await bench.leasing.stop()

    assert (bench.store.leased, bench.metric("hits_unreturned")) == ([1, 2, 4], 3)


async def test_what_leases_nothing_is_asked_of_the_store_and_its_refunds_are_told(bench: Bench) -> None:
    told: list[str] = []
    bench.leasing.on_refund(told.append)
    plain = Terms(Algorithm.REFERENCE, 10, 0, 10)
    for op in (Op.CHARGE, Op.REFUND):
        draw = Draw("plain", op, 3, plain, end=3600)
        await bench.leasing.admit((), [Admission([draw], math.inf, is_kept=True)], bench.clock.wall())

    assert (told, bench.store.leased, bench.metric("blocks")) == (["plain"], [], 0)
