"""A lease over a service that is asked without a wire."""

from __future__ import annotations

import asyncio

import pytest

from ratelimit.client.block import Block
from ratelimit.client.lease import Lease
from ratelimit.client.values import Answer, LimiterRefused, LimitState, OverLimit
from tests.fakes.clock import FakeClock

LIMIT = 1_000


class Counter:
    """One window of a service: what is charged and given back, and how often it is asked."""

    def __init__(self, limit: int = LIMIT, reset_seconds: float = 3_600.0) -> None:
        self.clock = FakeClock()
        self.limit = limit
        self.reset_seconds = reset_seconds
        self.spent = 0
        self.charged: list[int] = []
        self.refunded: list[int] = []
        self.is_away = self.is_refusing = False
        self.takes_seconds = 0.0

    def lease(self, ttl_seconds: float = 10.0, tokens_max: int = 10_000, max_fraction: float = 0.1) -> Lease:
        return Lease(Block(ttl_seconds, tokens_max, max_fraction), self.charge, self.refund, self.clock)

    async def charge(self, tokens: int) -> Answer:
        self.charged.append(tokens)
        self.clock.advance(self.takes_seconds)
        if self.is_away:
            return Answer(is_allowed=True, is_answered=False)
        is_over = self.spent + tokens > self.limit
        self.spent += 0 if is_over else tokens
        left = self.limit - self.spent
        state = LimitState("d.k", self.limit, "hour", self.spent, 0, left, self.reset_seconds, is_over)
        return Answer(not is_over, (state,), self.reset_seconds if is_over else 0.0)

    async def refund(self, tokens: int, _seconds: float) -> bool:
        if self.is_refusing:
            raise LimiterRefused("PERMISSION_DENIED")
        self.refunded.append(tokens)
        self.spent -= tokens
        return True


async def test_a_block_grows_while_it_does_not_last_and_never_beyond_its_share() -> None:
    counter = Counter()
    lease = counter.lease()
    for _ in range(300):
        await lease.spend()

    assert counter.charged == [1, 2, 4, 8, 16, 32, 64, 100, 100]
    assert lease.left == 327 - 300


async def test_a_block_is_no_larger_than_was_asked_for() -> None:
    counter = Counter()
    lease = counter.lease(tokens_max=5)
    for _ in range(20):
        await lease.spend()

    assert max(counter.charged) == 5


async def test_more_than_a_block_may_be_is_charged_as_it_is() -> None:
    counter = Counter()
    await counter.lease().spend(500)

    assert counter.charged == [500]


async def test_what_is_left_goes_back_when_the_lease_is_closed() -> None:
    counter = Counter()
    lease = counter.lease()
    for _ in range(5):
        await lease.spend()
    await lease.close()

    assert (counter.spent, counter.refunded, lease.left) == (5, [2], 0)


async def test_what_is_left_goes_back_when_its_time_is_over_and_the_next_block_is_what_was_spent() -> None:
    counter = Counter()
    lease = counter.lease()
    for _ in range(20):
        await lease.spend()
    counter.clock.advance(10.0)
    await lease.spend()

    assert counter.refunded == [31 - 20]
    assert counter.charged[-1] == 20 - 15  # of its last block


async def test_a_block_that_nobody_asks_for_any_more_goes_back_by_itself() -> None:
    counter = Counter()
    lease = counter.lease(ttl_seconds=0.05)
    for _ in range(2):
        await lease.spend(2)
    counter.clock.advance(0.05)
    async with asyncio.timeout(20.0):
        while not counter.refunded:  # noqa: ASYNC110 - what ends is time
            await asyncio.sleep(0.005)

    assert counter.spent == 4


async def test_after_the_end_of_its_window_nothing_is_left_to_spend_or_to_give_back() -> None:
    counter = Counter(reset_seconds=3.0)
    lease = counter.lease()
    for _ in range(2):
        await lease.spend(3)
    left = lease.left
    counter.clock.advance(3.0)
    await lease.close()

    assert (left, counter.refunded) == (3, [])


async def test_what_was_charged_before_a_window_ended_on_the_way_is_not_spent_after_it() -> None:
    counter = Counter(reset_seconds=3.0)
    lease = counter.lease()
    for _ in range(2):
        await lease.spend(3)
    counter.takes_seconds, counter.reset_seconds = 4.0, 60.0
    await lease.spend(4)

    assert (counter.charged, lease.left) == ([3, 6, 12], 8)


async def test_near_the_limit_a_block_is_what_is_left() -> None:
    counter = Counter()
    lease = counter.lease()
    for _ in range(LIMIT // 7):
        await lease.spend(7)
    with pytest.raises(OverLimit):
        await lease.spend(7)
    await lease.spend(LIMIT % 7)

    assert counter.spent == LIMIT
    assert lease.left == 0


async def test_what_a_block_has_left_and_what_the_limit_has_left_are_spent_together() -> None:
    counter = Counter()
    lease = counter.lease()
    for _ in range(2):
        await lease.spend(10)
    counter.spent = LIMIT - 3
    await lease.spend(12)

    assert (counter.refunded, counter.charged[-1]) == ([10], 12)


async def test_over_the_limit_nothing_is_spent_and_the_caller_hears_when_to_come_back() -> None:
    counter = Counter(limit=5)
    lease = counter.lease()
    with pytest.raises(OverLimit) as raised:
        await lease.spend(6)

    assert (counter.spent, raised.value.answer.retry_after_seconds) == (0, 3_600.0)


async def test_tasks_that_share_a_lease_take_one_block() -> None:
    counter = Counter()
    lease = counter.lease()
    await lease.spend(64)
    await asyncio.gather(*(lease.spend() for _ in range(60)))

    assert (counter.charged, lease.left) == ([64, 100], 40)


async def test_where_nobody_answers_the_client_does_what_it_was_told_and_has_no_block() -> None:
    counter = Counter()
    counter.is_away = True
    lease = counter.lease()
    await lease.spend(5)
    await lease.close()

    assert (lease.left, counter.refunded) == (0, [])


async def test_without_the_right_to_refund_what_is_left_stays_spent_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counter = Counter()
    counter.is_refusing = True
    lease = counter.lease()
    for _ in range(2):
        await lease.spend(5)
    await lease.close()

    assert counter.spent == 15
    assert "stays spent" in caplog.text


async def test_less_than_nothing_cannot_be_spent() -> None:
    with pytest.raises(LimiterRefused):
        await Counter().lease().spend(-1)


def test_from_a_bucket_goes_back_what_has_not_left_it_meanwhile() -> None:
    block = Block(10.0, 1_000, 1.0)
    state = LimitState("d.k", 100, "minute", 50, 0, 50, 25.0, is_over=False, algorithm="token_bucket")
    block.grant(50, 10, (state,), 1_000.0)

    assert block.close(1_004.5)[0] == 40 - 9


async def test_who_waited_for_another_to_take_a_block_spends_of_that() -> None:
    counter = Counter()
    lease = counter.lease()
    await lease.spend(64)
    may_answer = asyncio.Event()
    charge = counter.charge

    async def slow(tokens: int) -> Answer:
        await may_answer.wait()
        return await charge(tokens)

    lease._charge = slow
    spending = asyncio.gather(*(lease.spend(tokens) for tokens in (3, 2, 1)))
    async with asyncio.timeout(20.0):
        while len(lease._taking._waiters or ()) < 2:  # noqa: ASYNC110 - what others do
            await asyncio.sleep(0)
    may_answer.set()
    await spending

    assert (counter.charged, lease.left) == ([64, 100], 94)


async def test_a_block_that_was_renewed_as_its_time_ended_is_kept() -> None:
    counter = Counter()
    lease = counter.lease(ttl_seconds=0.05)
    for _ in range(2):
        await lease.spend(2)
    async with lease._taking:
        counter.clock.advance(0.05)
        # Longer than the block's time: whoever gives it back waits at the lock by now.
        async with asyncio.timeout(20.0):
            while not lease._taking._waiters:  # noqa: ASYNC110 - what ends is time
                await asyncio.sleep(0.005)
        lease._block.ends_at = counter.clock.steady() + 3_600
    await asyncio.sleep(0)

    assert (counter.refunded, lease.left) == ([], 2)
