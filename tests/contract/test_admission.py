"""The contract of admissions (`ratelimit/draw.py`), on every store that can keep them."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

import pytest

from ratelimit.draw import Algorithm, Draw, Op, Role, Standing, Terms
from ratelimit.errors import StoreError, StoreRefused
from ratelimit.store import Admission
from tests.contract.harness import CLUSTER, MEMORY, NOW, SINGLE, Harness

TTL_SECONDS = 30
FIXED = Terms(Algorithm.FIXED_WINDOW, 10_000, 0, 10_000, hold_ms=TTL_SECONDS * 1000, hold_max=10_000)
SLIDING = Terms(Algorithm.SLIDING_WINDOW, 10_000, 60_000, 10_000, hold_ms=TTL_SECONDS * 1000, hold_max=10_000)
BUCKET = Terms(Algorithm.TOKEN_BUCKET, 10_000, 3_600_000, 10_000, hold_ms=TTL_SECONDS * 1000, hold_max=10_000)
ALGORITHMS = [FIXED, SLIDING, BUCKET]

pytestmark = pytest.mark.parametrize("harness", [MEMORY, SINGLE, CLUSTER], ids=lambda kind: kind.name, indirect=True)
each_algorithm = pytest.mark.parametrize("terms", ALGORITHMS, ids=lambda terms: terms.algorithm.value)


@dataclass
class Counters:
    """Counters of one slot, in one window of an hour."""

    harness: Harness
    now: float = NOW
    terms: Terms = FIXED
    start: int = field(default=int(NOW) // 3600 * 3600)

    def draw(self, op: Op, hits: int, identity: str = "", name: str = "k", role: Role = Role.BLOCK) -> Draw:
        is_fixed = self.terms.algorithm is Algorithm.FIXED_WINDOW
        window = (self.start, self.start + 3600) if is_fixed else (0, 0)
        return Draw(f"{{{self.harness.prefix}}}{name}", op, hits, self.terms, role, identity, *window)

    async def admit(self, *draws: Draw) -> list[Standing]:
        _, [outcome] = await self.harness.store.admit((), [Admission(draws, math.inf, is_kept=True)], self.now)
        assert not isinstance(outcome, StoreError)
        return list(outcome)

    async def one(self, op: Op, hits: int, identity: str = "") -> Standing:
        return (await self.admit(self.draw(op, hits, identity)))[0]

    async def run(self, op: Op, hits: int, times: int) -> list[Standing]:
        """Ask as the limiter does for equal calls."""
        alike = [Admission([self.draw(op, hits)], math.inf, is_kept=True)] * times
        _, outcomes = await self.harness.store.admit((), alike, self.now)
        return [outcome[0] for outcome in outcomes if not isinstance(outcome, StoreError)]

    async def spent_and_held(self) -> tuple[int, int]:
        standing = await self.one(Op.CHARGE, 0)
        return standing.after, standing.held


@pytest.fixture
def counters(harness: Harness) -> Counters:
    return Counters(harness)


@each_algorithm
async def test_of_a_hundred_at_once_those_pass_that_fit(counters: Counters, terms: Terms) -> None:
    counters.terms = terms

    standings = await asyncio.gather(*(counters.one(Op.RESERVE, 1_000, f"id-{number}") for number in range(100)))

    assert sum(not standing.is_over for standing in standings) == 10
    assert await counters.spent_and_held() == (0, 10_000)


@each_algorithm
async def test_holds_whose_callers_died_are_given_back_in_time(counters: Counters, terms: Terms) -> None:
    counters.terms = terms
    for number in range(10):
        await counters.one(Op.RESERVE, 1_000, f"id-{number}" if number % 2 else "")
    refused = await counters.one(Op.RESERVE, 1, "late")

    counters.now += TTL_SECONDS

    assert refused.is_over
    assert await counters.spent_and_held() == (0, 0)
    assert not (await counters.one(Op.RESERVE, 10_000, "late")).is_over


@each_algorithm
async def test_a_settlement_replaces_the_hold_by_what_was_used(counters: Counters, terms: Terms) -> None:
    counters.terms = terms
    await counters.one(Op.RESERVE, 1_000, "a")

    settled = await counters.one(Op.SETTLE, 1_500, "a")

    assert (settled.after, settled.held) == (1_500, 0)


async def test_a_release_gives_the_hold_back_and_spends_nothing(counters: Counters) -> None:
    await counters.one(Op.RESERVE, 1_000, "a")

    released = await counters.one(Op.RELEASE, 0, "a")

    assert (released.after, released.held) == (0, 0)


async def test_a_hold_ends_once(counters: Counters) -> None:
    await counters.one(Op.RESERVE, 1_000, "a")
    await counters.one(Op.RESERVE, 1_000, "b")

    for op in (Op.RELEASE, Op.RELEASE, Op.SETTLE):
        await counters.one(op, 10, "a")

    assert await counters.spent_and_held() == (10, 1_000)


async def test_a_late_settlement_is_a_plain_charge(counters: Counters) -> None:
    await counters.one(Op.AUTO, 1_000, "a")
    counters.now += TTL_SECONDS

    late = await counters.one(Op.AUTO, 400, "a")

    assert (late.after, late.held) == (400, 0)


async def test_a_check_that_is_repeated_holds_once(counters: Counters) -> None:
    standings = [await counters.one(Op.RESERVE, 1_000, "a") for _ in range(3)]

    assert [(standing.held, standing.is_over) for standing in standings] == [(1_000, False)] * 3


async def test_a_charge_without_an_id_settles_the_oldest_hold_without_one(counters: Counters) -> None:
    await counters.one(Op.RESERVE, 1_000)
    counters.now += 1
    await counters.one(Op.RESERVE, 2_000)

    settled = await counters.one(Op.SETTLE, 10)

    assert (settled.after, settled.held) == (10, 2_000)


@each_algorithm
async def test_holds_that_came_together_end_one_by_one(counters: Counters, terms: Terms) -> None:
    counters.terms = terms
    held = await counters.run(Op.RESERVE, 100, 70)
    settled = [await counters.one(Op.SETTLE, 10) for _ in range(3)]
    others = await counters.run(Op.SETTLE, 10, 64)
    left = await counters.spent_and_held()
    counters.now += TTL_SECONDS
    late = await counters.run(Op.SETTLE, 10, 4)

    assert [standing.held for standing in held] == list(range(100, 7_100, 100))
    assert [(standing.before, standing.after, standing.held) for standing in [*settled, *others]] == [
        (10 * number, 10 * number + 10, 6_900 - 100 * number) for number in range(67)
    ]
    assert all(standing.is_ended for standing in [*settled, *others])
    assert left == (670, 300)
    assert [(standing.held, standing.is_ended) for standing in late] == [(0, False)] * 4


@each_algorithm
async def test_of_equal_holds_those_fit_that_the_limit_and_the_bound_leave_room_for(
    counters: Counters, terms: Terms
) -> None:
    counters.terms = terms
    few = await counters.run(Op.RESERVE, 4_000, 4)
    counters.harness.store._holds_max = 5  # type: ignore[attr-defined]
    many = await counters.run(Op.RESERVE, 1, 5)

    assert [(standing.held, standing.is_over) for standing in few] == [
        (4_000, False), (8_000, False), (8_000, True), (8_000, True),
    ]  # fmt: skip
    assert [(standing.held, standing.is_over) for standing in many] == [
        (8_001, False), (8_002, False), (8_003, False), (8_003, True), (8_003, True),
    ]  # fmt: skip


@each_algorithm
async def test_of_equal_settlements_those_are_over_that_leave_more_than_the_limit(
    counters: Counters, terms: Terms
) -> None:
    counters.terms = terms
    await counters.run(Op.RESERVE, 1_000, 3)
    settled = await counters.run(Op.SETTLE, 3_000, 5)

    assert [(standing.after, standing.is_over, standing.is_ended) for standing in settled] == [
        (3_000, False, True), (6_000, False, True), (9_000, False, True), (12_000, True, False), (15_000, True, False),
    ]  # fmt: skip


async def test_holds_that_came_together_are_settled_in_the_window_that_admitted_them(counters: Counters) -> None:
    await counters.run(Op.RESERVE, 1_000, 3)
    first = counters.start
    counters.start += 3_600
    await counters.run(Op.RESERVE, 500, 2)
    settled = await counters.run(Op.SETTLE, 100, 4)
    now = await counters.spent_and_held()
    counters.start = first

    assert [(standing.after, standing.held) for standing in settled] == [(0, 1_000)] * 3 + [(100, 500)]
    assert (now, await counters.spent_and_held()) == ((100, 500), (300, 0))


async def test_a_hold_does_not_reach_into_the_next_window_and_is_charged_where_it_was_admitted(
    counters: Counters,
) -> None:
    await counters.one(Op.RESERVE, 10_000, "a")
    first = counters.start
    counters.start += 3_600
    fresh = await counters.spent_and_held()

    await counters.one(Op.SETTLE, 700, "a")

    assert (fresh, await counters.spent_and_held()) == ((0, 0), (0, 0))
    counters.start = first
    assert await counters.spent_and_held() == (700, 0)


async def test_a_refused_request_spends_nothing_on_any_of_its_counters(counters: Counters) -> None:
    await counters.admit(counters.draw(Op.CHARGE, 9_000, name="full"))

    refused = await counters.admit(
        counters.draw(Op.CHARGE, 2_000, name="empty"), counters.draw(Op.CHARGE, 2_000, name="full")
    )

    assert [(standing.after, standing.is_over) for standing in refused] == [(0, False), (9_000, True)]


async def test_a_shadow_refuses_nothing_and_counts(counters: Counters) -> None:
    shadow = counters.draw(Op.CHARGE, 20_000, name="shadow", role=Role.SHADOW)

    passed = await counters.admit(shadow, counters.draw(Op.CHARGE, 1, name="other"))

    assert [(standing.after, standing.is_over) for standing in passed] == [(20_000, True), (1, False)]


async def test_quotas_refuse_only_if_none_of_them_fits(counters: Counters) -> None:
    def quotas(first: int, second: int) -> list[Draw]:
        return [
            counters.draw(Op.CHARGE, first, name="a", role=Role.QUOTA),
            counters.draw(Op.CHARGE, second, name="b", role=Role.QUOTA),
        ]

    one = await counters.admit(*quotas(20_000, 1))
    both = await counters.admit(*quotas(20_000, 20_000))

    assert [standing.after for standing in one] == [20_000, 1]
    assert [standing.after for standing in both] == [20_000, 1]


async def test_what_was_done_is_counted_whatever_is_left(counters: Counters) -> None:
    await counters.one(Op.CHARGE, 10_000)

    forced = await counters.one(Op.FORCE, 500)

    assert (forced.after, forced.is_over) == (10_500, True)


async def test_a_refund_and_the_charge_behind_it_end_at_the_right_sum(counters: Counters) -> None:
    await counters.one(Op.CHARGE, 400)

    standings = await counters.admit(counters.draw(Op.REFUND, 400), counters.draw(Op.FORCE, 120))

    assert [(standing.before, standing.after) for standing in standings] == [(400, 0), (0, 120)]


@each_algorithm
async def test_a_refund_stops_at_zero(counters: Counters, terms: Terms) -> None:
    counters.terms = terms
    await counters.one(Op.CHARGE, 400)

    assert (await counters.one(Op.REFUND, 1_000)).after == 0


async def test_a_charge_with_one_id_counts_once(counters: Counters) -> None:
    counters.terms = Terms(Algorithm.FIXED_WINDOW, 10_000, 0, 10_000, remember_ms=60_000)

    standings = [await counters.one(Op.CHARGE, 300, "a") for _ in range(3)]
    other = await counters.one(Op.CHARGE, 300, "b")
    counters.now += 60
    later = await counters.one(Op.CHARGE, 300, "a")

    assert [standing.after for standing in standings] == [300, 300, 300]
    assert (other.after, later.after) == (600, 900)


async def test_one_bad_counter_fails_one_call_of_a_batch(counters: Counters) -> None:
    if counters.harness.kind is MEMORY:
        good: object = [Standing(0, 1, 0, is_over=False, reset_ms=3_600_000 - int(NOW - counters.start) * 1000)]
        assert await counters.admit(counters.draw(Op.CHARGE, 1)) == good
        return
    bad = counters.draw(Op.CHARGE, 1, name="bad")
    counters.harness.put(f"{bad.stem}:{counters.start}", "no number")
    asked = [
        Admission([draw], math.inf, is_kept=True)
        for draw in (counters.draw(Op.CHARGE, 1), bad, counters.draw(Op.CHARGE, 2))
    ]

    _, [first, broken, last] = await counters.harness.store.admit((), asked, counters.now)

    assert isinstance(broken, StoreRefused)
    assert not isinstance(first, StoreError)
    assert not isinstance(last, StoreError)
    assert (first[0].after, last[0].after) == (1, 3)


async def test_a_bucket_gives_back_evenly_and_says_when(counters: Counters) -> None:
    counters.terms = Terms(Algorithm.TOKEN_BUCKET, 60, 60_000, 10)
    await counters.one(Op.CHARGE, 10)
    refused = await counters.one(Op.CHARGE, 4)

    counters.now += 3
    early = await counters.one(Op.CHARGE, 4)
    counters.now += 1
    passed = await counters.one(Op.CHARGE, 4)

    assert (refused.is_over, refused.reset_ms) == (True, 4_000)
    assert (early.is_over, passed.is_over) == (True, False)


async def test_holds_of_one_counter_are_bounded(counters: Counters) -> None:
    store = counters.harness.store
    store._holds_max = 3  # type: ignore[attr-defined]

    standings = [await counters.one(Op.RESERVE, 1, f"id-{number}") for number in range(5)]

    assert [standing.is_over for standing in standings] == [False, False, False, True, True]


async def test_plain_ledgers_and_admissions_go_together(counters: Counters) -> None:
    harness = counters.harness
    plain = harness.charge("plain", 3)
    reference = Draw(plain.key, Op.CHARGE, 4, Terms(Algorithm.REFERENCE, 10, 0, 10), end=100)

    await harness.run([plain])
    _, [standing] = await harness.store.admit((), [Admission([reference], math.inf, is_kept=True)], counters.now)

    assert not isinstance(standing, StoreError)
    assert (standing[0].before, standing[0].after) == (3, 7)
    assert await harness.run([plain]) == [[(7, 10)]]
