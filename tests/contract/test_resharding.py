"""A slot on its way to another node of a cluster: what is counted in it is counted in one place, or not at all."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ratelimit.draw import Algorithm, Draw, Op, Standing, Terms
from ratelimit.errors import StoreError, StoreUnavailable
from ratelimit.store import Admission
from ratelimit.stores.redis import RedisStore
from serving.redis import slot_of
from tests.contract.redis_stores import CLOCK, opened, settings
from tests.fakes.redis_servers import Moving, RedisCluster

HOUR, START = 3_600, 1_700_006_400
FIXED = Terms(Algorithm.FIXED_WINDOW, 10, 0, 10)
TERMS = {
    "fixed": FIXED,
    "sliding": Terms(Algorithm.SLIDING_WINDOW, 10, HOUR * 1000, 10),
    "bucket": Terms(Algorithm.TOKEN_BUCKET, 1, HOUR * 1000, 10),
    "plain": Terms(Algorithm.REFERENCE, 10, 0, 10),
}
HOLDING = replace(FIXED, hold_ms=600_000, hold_max=10, remember_ms=600_000)
LONG_SECONDS, SHORT_SECONDS = 10.0, 0.2

on_terms = pytest.mark.parametrize("terms", [*TERMS.values(), HOLDING], ids=[*TERMS, "holding"])


class Counter:
    """One counter in a slot of the first node, which goes to the second and, when the test is over, comes back."""

    def __init__(self, cluster: RedisCluster, store: RedisStore) -> None:
        source, target = cluster.servers[:2]
        self.store = store
        names = (f"{{{uuid.uuid4().hex}}}k" for _ in iter(int, 1))
        self.stem = next(name for name in names if cluster.holder(slot_of(name)) is source)
        self.moving = Moving(cluster, slot_of(self.stem), source, target)
        self.back = Moving(cluster, slot_of(self.stem), target, source)

    async def ask(
        self, op: Op, hits: int, terms: Terms, request_id: str = "", seconds: float = LONG_SECONDS
    ) -> Standing | StoreError:
        is_fixed = terms.algorithm is Algorithm.FIXED_WINDOW
        start, end = (START, START + HOUR) if is_fixed else (0, HOUR)
        draw = Draw(self.stem, op, hits, terms, id=request_id, start=start, end=end)
        asked = [Admission([draw], CLOCK.steady() + seconds, is_kept=True)]
        (answer,) = (await self.store.admit((), asked, float(START)))[1]
        return answer if isinstance(answer, StoreError) else answer[0]

    async def passes(self, op: Op, hits: int, terms: Terms, seconds: float = LONG_SECONDS) -> bool:
        answer = await self.ask(op, hits, terms, seconds=seconds)
        return isinstance(answer, Standing) and not answer.is_over


@pytest.fixture
async def counter(redis_cluster: RedisCluster) -> AsyncIterator[Counter]:
    async with opened(settings(redis_cluster.addresses, type="CLUSTER")) as store:
        counter = Counter(redis_cluster, store)
        yield counter
        counter.back.begin()
        if keys := counter.back.keys():
            counter.back.send(*keys)
        counter.back.finish()


async def test_what_is_in_two_places_is_tried_some_times_and_keeps_nothing_else_waiting(
    counter: Counter, redis_cluster: RedisCluster
) -> None:
    await counter.ask(Op.RESERVE, 8, HOLDING, "one")
    counter.moving.begin()
    source = redis_cluster.servers[0]
    source.ask("CONFIG", "RESETSTAT")
    await counter.ask(Op.RESERVE, 1, HOLDING, "two")
    errors = source.ask("INFO", "errorstats").decode()
    counter.moving.send(*counter.moving.keys())
    counter.moving.finish()

    assert "errorstat_TRYAGAIN:count=6" in errors


@on_terms
async def test_a_counter_is_counted_on_while_its_slot_is_on_its_way(counter: Counter, terms: Terms) -> None:
    before = await counter.passes(Op.CHARGE, 8, terms)
    counter.moving.begin()
    meanwhile = await counter.passes(Op.CHARGE, 8, terms, SHORT_SECONDS)
    # Refused with an error where anything of it had been made there meanwhile.
    counter.moving.send(*counter.moving.keys())
    counter.moving.finish()
    after = [await counter.passes(Op.CHARGE, hits, terms) for hits in (3, 2)]

    assert (before, meanwhile, after) == (True, False, [False, True])


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
async def test_a_counter_that_is_new_is_born_where_its_slot_goes(counter: Counter, terms: Terms) -> None:
    counter.moving.begin()
    meanwhile = await counter.passes(Op.CHARGE, 8, terms)
    left = counter.moving.keys()
    counter.moving.finish()

    assert (meanwhile, left) == (True, [])
    assert [await counter.passes(Op.CHARGE, hits, terms) for hits in (3, 2)] == [False, True]


async def test_a_hold_goes_with_its_slot_and_ends_once(counter: Counter) -> None:
    await counter.ask(Op.RESERVE, 8, HOLDING, "one")
    counter.moving.begin()
    # Of two keys one has gone: nothing can be said of the whole.
    first, *others = counter.moving.keys()
    counter.moving.send(first)
    meanwhile = [
        await counter.ask(Op.RESERVE, 3, HOLDING, "two"),
        await counter.ask(Op.SETTLE, 5, HOLDING, "one"),
    ]
    counter.moving.send(*others)
    counter.moving.finish()
    settled = [await counter.ask(Op.SETTLE, 5, HOLDING, "one") for _ in range(2)]

    assert [type(answer) for answer in meanwhile] == [StoreUnavailable] * 2
    assert [(one.is_ended, one.after, one.held) for one in settled if isinstance(one, Standing)] == [
        (True, 5, 0),
        (False, 5, 0),
    ]
