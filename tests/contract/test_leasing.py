"""Leases over a real Redis: replicas that spend by themselves, and never more than the limit together."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from ratelimit.draw import Algorithm, Draw, Op, Standing, Terms
from ratelimit.errors import StoreError
from ratelimit.leasing import LeasingStore
from ratelimit.store import Admission, HoldsPage
from ratelimit.stores.redis import RedisStore
from serving.clock import SystemClock
from serving.metrics import Registry
from tests.contract.redis_stores import settings
from tests.fakes.redis_servers import RedisServer

LIMIT = 1_000
START = 1_700_006_400
RECOVERY_SECONDS = 20.0


def terms(lease_ms: int = 60_000, lease_max: int = 100, *, is_exhausted: bool = False) -> Terms:
    return Terms(Algorithm.FIXED_WINDOW, LIMIT, 0, LIMIT, is_exhausted, lease_ms=lease_ms, lease_max=lease_max)


@dataclass
class Replica:
    store: LeasingStore
    registry: Registry
    prefix: str
    terms: Terms = field(default_factory=terms)

    def draw(self, op: Op, hits: int, name: str = "k") -> Draw:
        return Draw(f"{{{self.prefix}}}{name}", op, hits, self.terms, start=START, end=START + 3_600)

    async def ask(self, *draws: Draw) -> list[Standing]:
        _, [answer] = await self.store.admit((), [Admission(draws, math.inf, is_kept=True)], float(START))
        assert not isinstance(answer, StoreError)
        return list(answer)

    async def passes(self, hits: int = 1) -> bool:
        return not (await self.ask(self.draw(Op.CHARGE, hits)))[0].is_over

    def metric(self, name: str) -> float:
        return sum(sample.value for sample in self.registry.samples() if sample.name == f"weir.leases.{name}")


StartReplica = Callable[[], Awaitable[Replica]]


@pytest.fixture
async def start_replica(redis_server: RedisServer) -> AsyncIterator[StartReplica]:
    prefix, replicas = uuid.uuid4().hex, []

    async def start() -> Replica:
        registry, clock = Registry(), SystemClock()
        redis = RedisStore(settings(redis_server.path, socket_type="unix"), None, registry, clock)
        replica = Replica(LeasingStore(redis, clock, registry, blocks_max=10), registry, prefix)
        await replica.store.start()
        replicas.append(replica)
        return replica

    yield start
    for replica in replicas:
        await replica.store.stop()


async def spent(replica: Replica) -> int:
    """Return what the counter itself says: a charge that is never refused goes to the store."""
    return (await replica.ask(replica.draw(Op.FORCE, 0)))[0].after


async def test_replicas_together_let_through_the_limit_and_no_more(start_replica: StartReplica) -> None:
    replicas = [await start_replica() for _ in range(3)]

    async def spend(replica: Replica) -> int:
        return sum([await replica.passes() for _ in range(LIMIT)])

    passed = await asyncio.gather(*(spend(replica) for replica in replicas))

    left = LIMIT - sum(passed)
    assert left >= 0
    # What did not pass is in the blocks of replicas that had no use for it, and no longer in the counter.
    assert left < 3 * 100
    assert await spent(replicas[0]) == LIMIT


async def test_a_hot_key_is_asked_for_far_less_often_than_it_is_used(start_replica: StartReplica) -> None:
    replica = await start_replica()

    passed = sum([await replica.passes() for _ in range(500)])

    assert passed == 500
    # Blocks of 1, 2, 4 … 64, and then 100 at a time.
    assert replica.metric("taken") == 11


async def test_what_is_left_of_a_block_goes_back_when_its_life_ends(start_replica: StartReplica) -> None:
    replica = await start_replica()
    replica.terms = terms(lease_ms=40, lease_max=100)
    for _ in range(10):
        await replica.passes()

    async with asyncio.timeout(RECOVERY_SECONDS):
        while replica.metric("blocks"):  # noqa: ASYNC110 - what ends is time
            await asyncio.sleep(0.005)

    assert await spent(replica) == 10


async def test_a_replica_that_stops_gives_its_blocks_back(start_replica: StartReplica) -> None:
    first, second = await start_replica(), await start_replica()
    await first.ask(first.draw(Op.CHARGE, 3))
    await first.ask(first.draw(Op.CHARGE, 4))

    await first.store.stop()

    assert await spent(second) == 7


async def test_near_the_end_a_block_is_what_is_left(start_replica: StartReplica) -> None:
    replica = await start_replica()
    await replica.ask(replica.draw(Op.FORCE, LIMIT - 5))

    answers = [await replica.passes(2) for _ in range(4)]

    assert answers == [True, True, False, False]


async def test_a_request_over_several_blocks_is_all_or_nothing(start_replica: StartReplica) -> None:
    replica = await start_replica()
    await replica.ask(replica.draw(Op.FORCE, LIMIT, "full"))

    refused = await replica.ask(replica.draw(Op.CHARGE, 2, "empty"), replica.draw(Op.CHARGE, 2, "full"))
    passed = await replica.ask(replica.draw(Op.CHARGE, 2, "empty"))

    assert [standing.is_over for standing in refused] == [False, True]
    assert (passed[0].before, passed[0].is_over) == (0, False)


async def test_calls_that_come_together_are_answered_by_one_lease(start_replica: StartReplica) -> None:
    replica = await start_replica()
    asked = [Admission([replica.draw(Op.CHARGE, 3)], math.inf, is_kept=True) for _ in range(20)]

    _, answers = await replica.store.admit((), asked, float(START))

    assert [answer[0].after for answer in answers if not isinstance(answer, StoreError)] == list(range(3, 63, 3))
    assert replica.metric("taken") == 1


@pytest.mark.parametrize("is_exhausted", [False, True])
async def test_a_look_says_what_the_counter_says(start_replica: StartReplica, *, is_exhausted: bool) -> None:
    replica = await start_replica()
    replica.terms = terms(is_exhausted=is_exhausted)
    await replica.ask(replica.draw(Op.FORCE, LIMIT))

    assert await replica.passes(0) is not is_exhausted


async def test_counters_beyond_the_bound_are_asked_for_each_call(start_replica: StartReplica) -> None:
    replica = await start_replica()

    standings = [(await replica.ask(replica.draw(Op.CHARGE, 1, f"k{number}")))[0] for number in range(15)]

    assert [standing.after for standing in standings] == [1] * 15
    assert replica.metric("blocks") == 10


async def test_blocks_are_taken_under_the_limit_that_is_in_force_now(start_replica: StartReplica) -> None:
    replica = await start_replica()
    await replica.ask(replica.draw(Op.FORCE, LIMIT))
    before = await replica.passes(5)
    replica.terms = replace(terms(), limit=2 * LIMIT, capacity=2 * LIMIT)
    raised = await replica.passes(5)
    replica.terms = terms()
    await replica.ask(replica.draw(Op.CHARGE, 95))  # what the block has left, it may spend

    assert (before, raised, await replica.passes(5)) == (False, True, False)


async def test_holds_are_those_of_the_store_behind(start_replica: StartReplica) -> None:
    replica = await start_replica()
    held = replace(replica.draw(Op.RESERVE, 5), id="one", terms=replace(terms(), hold_ms=60_000, hold_max=LIMIT))
    await replica.ask(held)
    page = await replica.store.holds(held, cursor="", most=10, now=float(START), deadline=math.inf)

    assert isinstance(page, HoldsPage)
    assert [(hold.id, hold.amount) for hold in page.holds] == [("one", 5)]
