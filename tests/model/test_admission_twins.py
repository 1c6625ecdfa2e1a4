"""The Redis script and the twin in this process answer alike, whatever is asked and in whatever order."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from ratelimit.draw import Algorithm, Draw, Op, Role, Terms
from ratelimit.store import Admission
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.redis import RedisStore
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.settings import RedisSettings
from tests.fakes.redis_servers import RedisServer, running

NOW = 1_700_007_200
WINDOW_SECONDS = 60

TERMS = {
    "f": Terms(Algorithm.FIXED_WINDOW, 100, 0, 100),
    "h": Terms(Algorithm.FIXED_WINDOW, 100, 0, 100, is_exhausted=True, hold_ms=20_000, hold_max=60),
    "s": Terms(
        Algorithm.SLIDING_WINDOW, 100, 60_000, 100, is_exhausted=True, hold_ms=20_000, hold_max=60, remember_ms=40_000
    ),
    "b": Terms(Algorithm.TOKEN_BUCKET, 90, 60_000, 40, hold_ms=20_000, hold_max=60, remember_ms=15_000),
    "r": Terms(Algorithm.REFERENCE, 100, 0, 100),
    "rh": Terms(Algorithm.REFERENCE, 100, 0, 100, hold_ms=20_000, hold_max=60, remember_ms=40_000),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running() as one:
        yield one


@st.composite
def draws(draw: st.DrawFn) -> Draw:
    name = draw(st.sampled_from(list(TERMS)))
    terms = TERMS[name]
    op = draw(st.sampled_from([Op.CHARGE, Op.CHARGE, Op.FORCE, Op.REFUND, Op.LEASE, *([*Op] if terms.hold_ms else [])]))
    can_hold = op in {Op.RESERVE, Op.AUTO, Op.SETTLE, Op.RELEASE, Op.REFUND}
    ids = ["x", "y", "z"] if op is Op.AUTO else ["", "", "x", "y", "z"]
    identity = draw(st.sampled_from(ids)) if can_hold or terms.remember_ms else ""
    life_ms = draw(st.sampled_from([0, 0, 5_000, 60_000])) if terms.hold_ms else 0
    hits = draw(st.one_of(st.integers(0, 3), st.integers(0, 70)))
    return Draw(name, op, hits, terms, draw(st.sampled_from(Role)), identity, life_ms=life_ms)


# The limiter gives one admission several times where calls are equal.
TIMES = st.sampled_from([1, 1, 1, 2, 3, 20, 70])
ledgers = st.tuples(st.lists(draws(), min_size=1, max_size=3), st.booleans(), TIMES)
batches = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 700, 4_000, 21_000, 62_000, 250_000]), st.lists(ledgers, min_size=1, max_size=4)
    ),
    min_size=1,
    max_size=20,
)


def placed(draw: Draw, now_ms: int, prefix: str) -> Draw:
    if draw.terms.algorithm is Algorithm.REFERENCE:
        return replace(draw, stem=f"{prefix}_{draw.stem}_{now_ms // 60_000}", end=100)
    start = now_ms // 1000 // WINDOW_SECONDS * WINDOW_SECONDS if draw.terms.algorithm is Algorithm.FIXED_WINDOW else 0
    return replace(draw, stem=f"{{{prefix}}}{draw.stem}", start=start, end=start + WINDOW_SECONDS if start else 0)


async def answers(
    store: MemoryStore | RedisStore, script: Sequence[tuple[int, list[tuple[list[Draw], bool, int]]]], prefix: str
) -> list[object]:
    await store.start()
    try:
        found: list[object] = []
        now_ms = NOW * 1000
        for pause_ms, batch in script:
            now_ms += pause_ms
            admissions = []
            for wanted, is_kept, times in batch:
                admission = Admission([placed(draw, now_ms, prefix) for draw in wanted], math.inf, is_kept)
                admissions += [admission] * times
            found += (await store.admit((), admissions, now_ms / 1000))[1]
        return found
    finally:
        await store.stop()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=batches)
def test_the_script_and_its_twin_answer_alike(
    server: RedisServer, script: list[tuple[int, list[tuple[list[Draw], bool, int]]]]
) -> None:
    redis = RedisSettings(url=SecretStr(str(server.path)))
    prefix = uuid.uuid4().hex

    async def both() -> tuple[list[object], list[object]]:
        store = RedisStore(redis, None, Registry(), SystemClock(), is_timed_by_caller=True)
        return await answers(MemoryStore(1_000), script, prefix), await answers(store, script, prefix)

    mine, its = asyncio.run(both())

    assert its == mine
