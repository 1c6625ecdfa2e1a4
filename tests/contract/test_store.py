"""The contract of the counter store (`ratelimit/store.py`), on every implementation."""

from __future__ import annotations

import asyncio

import pytest

from ratelimit.errors import StoreRefused
from ratelimit.store import COUNT_MAX, Policy
from tests.contract.harness import Harness, on_all, on_those_that

pytestmark = pytest.mark.usefixtures("harness")


@on_all
async def test_a_charge_says_what_was_before_and_what_is_after(harness: Harness) -> None:
    outcomes = await harness.run([harness.charge("a", 3)], [harness.charge("a", 4)])

    assert outcomes == [[(0, 3)], [(3, 7)]]


@on_all
async def test_nothing_to_do_is_nothing_answered(harness: Harness) -> None:
    assert await harness.run() == []


@on_all
async def test_counters_of_one_ledger_are_told_apart(harness: Harness) -> None:
    await harness.run([harness.charge("a", 3), harness.charge("b", 5)])

    assert (await harness.value("a"), await harness.value("b")) == (3, 5)


@on_all
async def test_a_look_makes_the_counter(harness: Harness) -> None:
    outcomes = await harness.run([harness.charge("a", 0)])

    assert (outcomes, await harness.value("a")) == ([[(0, 0)]], 0)


@on_all
async def test_a_look_at_a_counter_leaves_it(harness: Harness) -> None:
    await harness.run([harness.charge("a", 3)])

    assert await harness.run([harness.charge("a", 0)]) == [[(3, 3)]]


@on_all
async def test_a_counter_over_its_limit_is_charged_nevertheless(harness: Harness) -> None:
    outcomes = await harness.run([harness.charge("a", 8, limit=5)], [harness.charge("a", 8, limit=5)])

    assert outcomes == [[(0, 8)], [(8, 16)]]


@on_all
async def test_charges_on_one_counter_add_up_in_order(harness: Harness) -> None:
    outcomes = await harness.run([harness.charge("a", 1), harness.charge("b", 2), harness.charge("a", 4)])

    assert outcomes == [[(0, 1), (0, 2), (1, 5)]]


@on_all
async def test_a_refund_before_a_charge_comes_first(harness: Harness) -> None:
    await harness.run([harness.charge("a", 5)])

    assert await harness.run([harness.refund("a", 7), harness.charge("a", 2)]) == [[(5, 0), (0, 2)]]


@on_all
async def test_a_charge_before_a_refund_comes_first(harness: Harness) -> None:
    assert await harness.run([harness.charge("a", 5), harness.refund("a", 2)]) == [[(0, 5), (5, 3)]]


@on_all
async def test_a_refund_sees_the_ledgers_before_it(harness: Harness) -> None:
    outcomes = await harness.run([harness.charge("a", 5)], [harness.refund("a", 9)], [harness.charge("a", 1)])

    assert outcomes == [[(0, 5)], [(5, 0)], [(0, 1)]]


@on_all
async def test_a_refund_stops_at_zero(harness: Harness) -> None:
    await harness.run([harness.charge("a", 5)])

    assert await harness.run([harness.refund("a", 20)]) == [[(5, 0)]]


@on_all
async def test_a_refund_of_nothing_looks(harness: Harness) -> None:
    await harness.run([harness.charge("a", 5)])

    assert await harness.run([harness.refund("a", 0)]) == [[(5, 5)]]


@on_all
async def test_a_refund_makes_no_counter(harness: Harness) -> None:
    outcomes = await harness.run([harness.refund("a", 20)])

    assert (outcomes, await harness.value("a")) == ([[(0, 0)]], None)


@on_all
async def test_a_counter_dies_at_the_time_given_at_its_birth(harness: Harness) -> None:
    await harness.run([harness.charge("a", ttl=50)])

    assert 48 < await harness.life("a") <= 50


@on_those_that("has_one_end")
async def test_a_window_has_one_end(harness: Harness) -> None:
    await harness.run([harness.charge("a", ttl=50)])
    await harness.run([harness.charge("a", ttl=500)])

    assert await harness.life("a") <= 50


@on_all
async def test_a_refund_renews_nothing(harness: Harness) -> None:
    await harness.run([harness.charge("a", ttl=50)])
    await harness.run([harness.refund("a", 1)])

    assert await harness.life("a") <= 50


@on_all
async def test_a_counter_at_its_end_denies_and_does_not_fail(harness: Harness) -> None:
    outcomes = await harness.run([harness.charge("a", COUNT_MAX)], [harness.charge("a", 7)], [harness.charge("a", 0)])

    assert outcomes == [[(0, COUNT_MAX)], [(COUNT_MAX, COUNT_MAX)], [(COUNT_MAX, COUNT_MAX)]]


@on_those_that("is_shared")
@pytest.mark.parametrize("text", [str(2**62), str(2**63 - 1)])
async def test_a_count_beyond_ours_denies_and_does_not_fail(harness: Harness, text: str) -> None:
    harness.put(harness.key("a"), text)

    assert await harness.run([harness.charge("a", 7)]) == [[(COUNT_MAX, COUNT_MAX)]]


@on_those_that("is_atomic", "is_shared")
async def test_a_counter_that_ran_over_keeps_its_end(harness: Harness) -> None:
    harness.put(harness.key("a"), str(2**63 - 1))
    await harness.run([harness.charge("a", 7)])

    assert (await harness.value("a"), await harness.life("a") <= 100) == (COUNT_MAX, True)


@on_those_that("is_shared")
async def test_a_negative_count_is_room(harness: Harness) -> None:
    harness.put(harness.key("a"), "-5")

    assert await harness.run([harness.charge("a", 1)], [harness.refund("a", 3)]) == [[(-5, -4)], [(-4, -4)]]


@on_all
async def test_as_many_pass_as_the_limit_says(harness: Harness) -> None:
    async def passes() -> bool:
        ((_, after),) = (await harness.run([harness.charge("a", limit=5)]))[0]  # type: ignore[misc]
        return bool(after <= 5)

    passed = await asyncio.gather(*(passes() for _ in range(100)))

    assert sum(passed) == 5


@on_all
async def test_of_a_batch_as_many_pass_as_the_limit_says(harness: Harness) -> None:
    outcomes = await harness.stop_run(
        *([harness.charge("a", limit=5), harness.charge("b", limit=90)] for _ in range(100))
    )

    assert sum(outcome[0][1] <= 5 for outcome in outcomes) == 5  # type: ignore[index]


@on_all
async def test_more_ledgers_than_a_call_takes_keep_their_order(harness: Harness) -> None:
    outcomes = await harness.run(*([harness.charge("a")] for _ in range(1100)))

    assert outcomes == [[(count, count + 1)] for count in range(1100)]


@on_all
async def test_more_charges_than_a_call_takes_keep_their_order(harness: Harness) -> None:
    (outcome,) = await harness.run([harness.charge("a") for _ in range(5000)])

    assert outcome == [(count, count + 1) for count in range(5000)]


@on_all
async def test_stop_spares_the_others(harness: Harness) -> None:
    await harness.run([harness.charge("b", 9)])

    outcomes = await harness.stop_run([harness.charge("a", 2), harness.charge("b", 2), harness.charge("c", 2)])

    assert outcomes == [[(0, 0), (9, 11), (0, 0)]]


@on_all
async def test_stop_makes_the_counters_it_spares(harness: Harness) -> None:
    await harness.stop_run([harness.charge("a", 2), harness.charge("b", 20)])

    assert (await harness.value("a"), await harness.life("a") > 0) == (0, True)


@on_all
async def test_stop_adds_all_where_none_goes_over(harness: Harness) -> None:
    outcomes = await harness.stop_run([harness.charge("a", 10), harness.charge("b", 1)])

    assert outcomes == [[(0, 10), (0, 1)]]


@on_all
async def test_stop_keeps_every_refund(harness: Harness) -> None:
    await harness.run([harness.charge("a", 5), harness.charge("b", 10)])

    assert await harness.stop_run([harness.refund("a", 2), harness.charge("b", 1)]) == [[(5, 3), (10, 11)]]


@on_all
async def test_stop_judges_after_the_refunds_before_it(harness: Harness) -> None:
    await harness.run([harness.charge("a", 10)])

    assert await harness.stop_run([harness.refund("a", 4), harness.charge("a", 3)]) == [[(10, 6), (6, 9)]]


@on_all
async def test_stop_never_lets_a_pair_on_one_counter_pass_for_one(harness: Harness) -> None:
    await harness.run([harness.charge("a", 9)])

    assert await harness.stop_run([harness.charge("a"), harness.charge("a")]) == [[(9, 10), (10, 11)]]


@on_those_that("is_shared")
@pytest.mark.parametrize("policy", list(Policy), ids=lambda policy: policy.value)
async def test_a_counter_that_is_none_fails_its_ledger_only(harness: Harness, policy: Policy) -> None:
    harness.put(harness.key("text"), "many")

    fine, refused, fine_too = await harness.run(
        [harness.charge("a")], [harness.charge("text")], [harness.charge("a")], policy=policy
    )

    assert (fine, repr(refused), fine_too) == (
        [(0, 1)],
        repr(StoreRefused("ERR value is not an integer or out of range")),
        [(1, 2)],
    )


@on_those_that("is_shared")
@pytest.mark.parametrize("is_refund", [False, True], ids=["charge", "refund"])
async def test_a_key_of_another_type_is_refused_in_the_servers_words(harness: Harness, is_refund: bool) -> None:  # noqa: FBT001
    key = harness.key("list")
    harness.ask(key, "RPUSH", key, "x")

    (refused,) = await harness.run([harness.refund("list", 1) if is_refund else harness.charge("list")])

    assert repr(refused) == repr(StoreRefused("WRONGTYPE Operation against a key holding the wrong kind of value"))


@on_those_that("is_atomic", "is_shared")
async def test_a_refused_ledger_is_taken_back(harness: Harness) -> None:
    harness.put(harness.key("text"), "many")
    await harness.run([harness.charge("a", 5), harness.charge("full", COUNT_MAX)])

    await harness.run(
        [
            harness.charge("a", 2),
            harness.refund("a", 6),
            harness.charge("new", 3),
            harness.charge("new", 4),
            harness.charge("full", 9),
            harness.charge("text"),
        ]
    )

    assert [await harness.value(name) for name in ("a", "new", "full")] == [5, None, COUNT_MAX]


@on_those_that("tells_refunds")
async def test_a_refund_is_told(harness: Harness) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    harness.store.on_refund(told.put_nowait)
    await harness.run([harness.charge("a", 5)])

    async with asyncio.timeout(30):
        while told.empty():  # the first ones may come before anybody listens
            await harness.run([harness.refund("a", 1), harness.charge("b", 1)])
            await asyncio.sleep(0.01)

    assert told.get_nowait() == harness.key("a")


@on_all
async def test_a_store_that_was_reached_is_healthy(harness: Harness) -> None:
    assert harness.store.is_healthy
