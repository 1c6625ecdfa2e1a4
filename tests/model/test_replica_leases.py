"""Replicas that spend out of blocks, in any order of calls, waits, lives that end and blocks that go back."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit.draw import Algorithm, Draw, Op, Terms
from ratelimit.errors import StoreError, StoreTimeout
from ratelimit.leasing import LeasingStore
from ratelimit.store import Admission, AdmissionOutcome, Ledger, Outcome
from ratelimit.stores.memory import MemoryStore
from serving.metrics import Registry
from tests.fakes.clock import FakeClock

LIMIT, LIFE_SECONDS = 60, 600.0
TERMS = Terms(Algorithm.FIXED_WINDOW, LIMIT, 0, LIMIT, lease_ms=int(LIFE_SECONDS * 1000), lease_max=20)
# A window that lasts longer than the steps of a script.
START, END = 1_700_006_400, 1_800_006_400
KEYS = ("{a}", "{b}")

replicas = st.integers(0, 1)
calls = st.tuples(
    st.just("call"),
    replicas,
    st.lists(st.sampled_from(KEYS), min_size=1, max_size=2),
    st.integers(0, 5),
    st.sampled_from([1, 1, 4]),
)
steps = st.one_of(
    calls,
    # Most often, or there is never a block to end.
    calls,
    calls,
    st.tuples(st.just("pause"), st.sampled_from([1, 3, 20])),
    st.tuples(st.just("turn"), st.sampled_from([LIFE_SECONDS / 2, LIFE_SECONDS])),
    st.tuples(st.just("return"), replicas),
    st.tuples(st.just("lose"), st.integers(1, 2)),
)  # fmt: skip


class SlowStore(MemoryStore):
    """Answers some turns of the loop after it has counted, or loses its answer."""

    def __init__(self) -> None:
        super().__init__(1_000)
        self.losses = self.asked = 0

    async def admit(
        self, ledgers: Sequence[Ledger], admissions: Sequence[Admission], now: float
    ) -> tuple[Sequence[Outcome], Sequence[AdmissionOutcome]]:
        self.asked += 1
        await self._pause(self.asked % 3)
        outcomes, answers = await super().admit(ledgers, admissions, now)
        await self._pause(self.asked % 4)
        if self.losses:
            self.losses -= 1
            return outcomes, [StoreTimeout("lost")] * len(admissions)
        return outcomes, answers

    @staticmethod
    async def _pause(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)


class World:
    """Two replicas over one store, and what they let through."""

    def __init__(self) -> None:
        self.clock, self.store = FakeClock(float(START)), SlowStore()
        self.registries = [Registry() for _ in range(2)]
        self.replicas = [LeasingStore(self.store, self.clock, each, blocks_max=10) for each in self.registries]
        self.passed = dict.fromkeys(KEYS, 0)
        self.tasks: list[asyncio.Task[None]] = []

    async def call(self, replica: int, keys: Sequence[str], hits: int, times: int) -> None:
        draws = [Draw(key, Op.CHARGE, hits, TERMS, start=START, end=END) for key in keys]
        admission = Admission(draws, math.inf, is_kept=True)
        _, answers = await self.replicas[replica].admit((), [admission] * times, self.clock.wall())
        for answer in answers:
            if not isinstance(answer, StoreError) and not any(standing.is_over for standing in answer):
                for key in keys:
                    self.passed[key] += hits

    async def do(self, step: tuple[object, ...]) -> None:
        match step:
            case ("call", int(replica), list(keys), int(hits), int(times)):
                self.tasks.append(asyncio.create_task(self.call(replica, keys, hits, times)))
            case ("pause", int(turns)):
                for _ in range(turns):
                    await asyncio.sleep(0)
            case ("turn", float(seconds)):
                self.clock.advance(seconds)
            case ("return", int(replica)):
                self.tasks.append(asyncio.create_task(self.replicas[replica]._give_back()))
            case ("lose", int(count)):
                self.store.losses = count
        await asyncio.sleep(0)

    async def spent(self, key: str) -> int:
        draw = Draw(key, Op.FORCE, 0, TERMS, start=START, end=END)
        (answer,) = (await self.store.admit((), [Admission([draw], math.inf)], self.clock.wall()))[1]
        assert not isinstance(answer, StoreError)
        return answer[0].after

    @property
    def unreturned(self) -> float:
        samples = [sample for registry in self.registries for sample in registry.samples()]
        return sum(sample.value for sample in samples if sample.name == "weir.leases.hits_unreturned")


@settings(max_examples=300, deadline=None)
@given(script=st.lists(steps, min_size=10, max_size=60))
def test_no_more_passes_than_the_limit_and_what_did_not_is_there_again(script: list[tuple[object, ...]]) -> None:
    async def run() -> None:
        world = World()
        for step in script:
            await world.do(step)
        await asyncio.gather(*world.tasks)
        world.store.losses = 0
        for replica in world.replicas:
            await replica.stop()
        spent = {key: await world.spent(key) for key in KEYS}

        assert all(world.passed[key] <= spent[key] <= LIMIT for key in KEYS)
        # What was asked for by a call whose answer was lost may be spent by nobody, and is told so.
        assert sum(spent.values()) - sum(world.passed.values()) <= world.unreturned

    asyncio.run(run())
