from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from ratelimit.draw import Algorithm, Draw, Op, Terms
from ratelimit.errors import StoreError, StoreTimeout, StoreUnavailable
from ratelimit.leasing import LeasingStore
from ratelimit.store import Admission, AdmissionOutcome, Ledger, Outcome
from ratelimit.stores.memory import MemoryStore
from serving.metrics import Registry
from tests.fakes.clock import FakeClock

LIFE_SECONDS = 60.0
PATIENCE_SECONDS = 30.0
TERMS = Terms(Algorithm.FIXED_WINDOW, 1_000, 0, 1_000, lease_ms=int(LIFE_SECONDS * 1000), lease_max=100)


class MaybeAwayStore(MemoryStore):
    """A memory store that may be away for admissions, or let them wait, and tells what it was asked for."""

    def __init__(self) -> None:
        super().__init__(1_000)
        self.away: StoreError | None = None
        self.leased: list[int] = []
        self.returned: list[int] = []
        self.is_passing = asyncio.Event()
        self.is_passing.set()

    @property
    def is_healthy(self) -> bool:
        return self.away is None

    async def admit(
        self, ledgers: Sequence[Ledger], admissions: Sequence[Admission], now: float
    ) -> tuple[Sequence[Outcome], Sequence[AdmissionOutcome]]:
        self.leased += [draw.hits for each in admissions for draw in each.draws if draw.op is Op.LEASE]
        self.returned += [draw.hits for each in admissions for draw in each.draws if draw.op is Op.REFUND]
        await self.is_passing.wait()
        if self.away is not None:
            return [], [self.away] * len(admissions)
        return await super().admit(ledgers, admissions, now)


class Bench:
    """One replica, on a clock that stands."""

    def __init__(self) -> None:
        self.clock, self.store, self.registry = FakeClock(), MaybeAwayStore(), Registry()
        self.leasing = LeasingStore(self.store, self.clock, self.registry, blocks_max=10)

    def admission(self, hits: int, key: str = "k", terms: Terms = TERMS, op: Op = Op.CHARGE) -> Admission:
        start = int(self.clock.wall()) // 3600 * 3600
        draw = Draw(f"{{{key}}}", op, hits, terms, start=start, end=start + 3600)
        return Admission([draw], math.inf, is_kept=True)

    async def answers(self, *admissions: Admission) -> list[bool | None]:
        """Return of each whether it passed; None: nobody knows."""
        _, answers = await self.leasing.admit((), admissions, self.clock.wall())
        return [None if isinstance(answer, StoreError) else not answer[0].is_over for answer in answers]

    async def spend(self, hits: int, key: str = "k", terms: Terms = TERMS) -> bool | None:
        return (await self.answers(self.admission(hits, key, terms)))[0]

    async def spent(self) -> int:
        """Return what the counter itself says."""
        _, [answer] = await self.store.admit((), [self.admission(0, op=Op.FORCE)], self.clock.wall())
        assert not isinstance(answer, StoreError)
        return answer[0].after

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
    bench.store.away = StoreUnavailable("away")

    assert [await bench.spend(1), await bench.spend(1)] == [True, None]
    assert not bench.leasing.is_healthy


async def test_a_key_of_which_nothing_was_ever_heard_is_unknown_until_it_is(bench: Bench) -> None:
    bench.store.away = StoreUnavailable("away")
    unknown = [await bench.spend(1), await bench.spend(0)]
    bench.store.away = None

    assert (unknown, await bench.spend(1)) == ([None, None], True)


async def test_what_cannot_be_given_back_stays_spent_and_is_told() -> None:
    bench = Bench()
    await bench.spend(1)
    await bench.spend(2)
    await bench.spend(1)
    bench.store.away = StoreUnavailable("away")

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


async def test_a_block_that_a_call_waits_for_is_not_given_back(bench: Bench) -> None:
    short = replace(TERMS, lease_ms=10)
    await bench.spend(1, "other", short)
    bench.store.is_passing.clear()
    waiting = asyncio.create_task(bench.spend(1))
    await asyncio.sleep(0)
    bench.clock.advance(1)
    # What waits behind it: the other block has ended, and nothing of it is left to be given back.
    async with asyncio.timeout(PATIENCE_SECONDS):
        while bench.metric("blocks") > 1:  # noqa: ASYNC110 - what ends is time
            await asyncio.sleep(0.005)
    bench.store.is_passing.set()

    assert (await waiting, bench.metric("blocks")) == (True, 1)


async def test_batches_at_a_time_do_not_spend_what_another_counts_on(bench: Bench) -> None:
    await bench.answers(bench.admission(5), bench.admission(5))
    await bench.spend(1)  # of a block of twice as many
    bench.clock.advance(LIFE_SECONDS / 2)
    bench.store.is_passing.clear()
    first, second = (asyncio.create_task(bench.spend(hits)) for hits in (30, 19))
    await asyncio.sleep(0)
    bench.store.is_passing.set()

    assert [await first, await second] == [True, True]
    assert bench.store.leased == [10, 20, 20, 20]


async def test_what_is_left_when_the_life_of_a_block_ends_is_spent_by_nobody(bench: Bench) -> None:
    for _ in range(6):
        await bench.spend(1)
    bench.clock.advance(LIFE_SECONDS)
    left = bench.store.leased, await bench.spent()
    passed = await bench.spend(1)

    assert (left, passed) == (([1, 2, 4, 3], 7), True)
    assert bench.store.returned == [1]


async def test_a_block_is_followed_by_one_as_large_as_what_was_spent_of_it(bench: Bench) -> None:
    await bench.answers(*[bench.admission(1)] * 20)
    await bench.spend(1)
    await bench.spend(6)
    bench.clock.advance(LIFE_SECONDS)
    await bench.spend(1)

    assert (bench.store.leased, bench.store.returned, await bench.spent()) == ([20, 40, 7], [33], 34)


async def test_a_look_takes_nothing(bench: Bench) -> None:
    looks = [await bench.spend(0), await bench.spend(0)]

    assert (looks, await bench.spent()) == ([True, True], 0)


async def test_of_equal_calls_as_many_pass_as_the_block_can_pay(bench: Bench) -> None:
    await bench.leasing.admit((), [bench.admission(995, op=Op.FORCE)], bench.clock.wall())

    assert await bench.answers(*[bench.admission(2)] * 4) == [True, True, False, False]


async def test_equal_calls_of_which_nobody_knows_are_unknown(bench: Bench) -> None:
    bench.store.away = StoreUnavailable("away")

    assert await bench.answers(*[bench.admission(2)] * 3) == [None, None, None]


async def test_one_batch_takes_no_more_blocks_than_there_may_be(bench: Bench) -> None:
    asked = [bench.admission(1, f"k{number}") for number in range(15) for _ in range(2)]

    assert await bench.answers(*asked) == [True] * 30
    assert bench.metric("blocks") == 10


async def test_a_block_that_may_have_been_taken_is_told_as_one_that_stays_spent(bench: Bench) -> None:
    bench.store.away = StoreTimeout("late")
    await bench.spend(4)

    assert bench.metric("hits_unreturned") == 4


@pytest.mark.parametrize("is_stopped", [False, True], ids=["with the next lease", "by itself"])
async def test_what_has_left_a_bucket_meanwhile_is_not_given_back(bench: Bench, *, is_stopped: bool) -> None:
    # One hit leaves in ten seconds.
    bucket = replace(TERMS, algorithm=Algorithm.TOKEN_BUCKET, limit=360, window_ms=3_600_000)
    await bench.answers(bench.admission(20, terms=bucket), bench.admission(1, terms=bucket))
    await bench.spend(1, terms=bucket)
    bench.clock.advance(LIFE_SECONDS + 5)
    if is_stopped:
        await bench.leasing.stop()
    else:
        await bench.spend(1, terms=bucket)

    assert (bench.store.leased[:2], bench.store.returned) == ([21, 42], [41 - 7])
