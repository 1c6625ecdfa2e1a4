from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from ratelimit.draw import Algorithm, Draw, Op, Terms
from ratelimit.store import Charge, Ledger
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.memory_counters import MemoryCounters
from serving.metrics import Registry

FIXED = Terms(Algorithm.FIXED_WINDOW, 100, 0, 100)


@dataclass
class Bench:
    """A store with room for two counters."""

    registry: Registry = field(default_factory=Registry)
    store: MemoryStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = MemoryStore(2, self.registry)

    async def spend(self, key: str, *, ttl: int, now: float = 0.0) -> int:
        """Charge one hit, and return what was spent before."""
        (outcome,) = await self.store.charge([Ledger([Charge(key, 1, 10, ttl)], math.inf)], now)
        assert isinstance(outcome, list)
        return int(outcome[0][0])

    @property
    def dropped(self) -> float:
        return next(one.value for one in self.registry.samples() if one.name == "ratelimit.memory.counters_dropped")


async def test_where_there_is_no_room_the_counter_that_ends_first_leaves(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    for key, ttl in [("late", 100), ("early", 50), ("new", 100)]:
        await bench.spend(key, ttl=ttl)

    assert await bench.spend("late", ttl=100) == 1
    assert await bench.spend("early", ttl=50) == 0
    assert bench.dropped == 2
    assert len([one for one in caplog.messages if "MEMORY_COUNTERS_MAX=2" in one]) == 1


async def test_a_counter_that_has_ended_makes_room_without_a_word() -> None:
    bench = Bench()
    for key, ttl in [("a", 10), ("b", 10)]:
        await bench.spend(key, ttl=ttl)

    await bench.spend("c", ttl=10, now=20)

    assert bench.dropped == 0


async def test_a_counter_that_begins_anew_does_not_end_with_its_old_end() -> None:
    bench = Bench()
    await bench.spend("a", ttl=10)
    await bench.spend("a", ttl=100, now=20)

    await bench.spend("b", ttl=100, now=21)

    assert await bench.spend("a", ttl=100, now=22) == 1


def draw(stem: str, end: int) -> Draw:
    return Draw(stem, Op.CHARGE, 1, FIXED, end=end)


class Table:
    """Counters of our own modes, with room for `room` of them."""

    def __init__(self, room: int) -> None:
        self.told = 0
        self.counters = MemoryCounters(room, 10, self._tell)

    def _tell(self) -> None:
        self.told += 1

    def use(self, stem: str, end: int, now: int = 0) -> None:
        self.counters.find(draw(stem, end), now * 1000)

    @property
    def stems(self) -> set[str]:
        return set(self.counters._kept)


def test_of_our_own_modes_too_the_counter_that_ends_first_leaves_and_it_is_told() -> None:
    table = Table(2)
    for stem, end in [("late", 100), ("early", 50), ("new", 100)]:
        table.use(stem, end)

    assert (table.stems, table.told) == ({"late", "new"}, 1)


def test_a_counter_in_use_does_not_leave_for_one_that_is_not() -> None:
    table = Table(2)
    table.use("used", 100)
    table.use("unused", 110)
    table.use("used", 100, now=50)

    table.use("new", 100, now=60)

    assert table.stems == {"used", "new"}


def test_a_call_that_finds_no_room_looks_at_some_timers_only() -> None:
    table = Table(40)
    for number in range(40):
        table.use(f"k{number}", 1_000 + number)
    for number in range(40):
        table.use(f"k{number}", 2_000 + number, now=1)

    table.use("new", 3_000, now=2)

    # The first sixteen were found to be in use; the next one had to go.
    assert (len(table.stems), "k16" in table.stems, table.told) == (40, False, 1)
