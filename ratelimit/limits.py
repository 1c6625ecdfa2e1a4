"""Limits and the windows they count in.

    counter key  =  stem + start of its window        0 ──── start ═════════ end ────▶ Unix time

Windows are fixed and counted from the Unix epoch: a week starts on Thursday, a month is 30
days, a year 365. With calendar months (`Windows(calendar_month=True)`) a month starts on its
first day, 00:00 UTC. Both are envoyproxy/ratelimit's, and both are in the counter's key, so
that its replicas and ours count together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol

from ratelimit.draw import Algorithm


class Unit(Enum):
    """A span of time as rules name it: (seconds, number on the wire)."""

    SECOND = (1, 1)
    MINUTE = (60, 2)
    HOUR = (3_600, 3)
    DAY = (86_400, 4)
    WEEK = (604_800, 7)
    MONTH = (2_592_000, 5)
    YEAR = (31_536_000, 6)

    def __init__(self, seconds: int, number: int) -> None:
        self.seconds = seconds
        self.number = number

    # By identity, as members are compared: Enum hashes the name, in Python, for every look-up of every call.
    __hash__ = object.__hash__


UNITS_BY_NUMBER = {unit.number: unit for unit in Unit}


@dataclass(frozen=True, slots=True)
class Window:
    """One span that a counter lives for, in whole seconds of Unix time."""

    start: int
    end: int


class Windowing(Protocol):
    """Windows beyond the reference's; `ratelimit.windows` has them."""

    @property
    def tag(self) -> str:
        """What names them in counter keys."""

    @property
    def words(self) -> str:
        """What people call one of them, behind `per`."""

    @property
    def longest_seconds(self) -> int:
        """What none of them is longer than."""

    def at(self, now: float) -> Window:
        """Return the window around `now`."""


@dataclass(frozen=True, slots=True)
class Limit:
    """So many hits in a window."""

    amount: int
    unit: Unit | None
    """As the answer names the window; None for one that the answer has no name for."""
    name: str = ""
    windowing: Windowing | None = None
    """None: the unit's own, as the reference counts."""
    algorithm: Algorithm = Algorithm.FIXED_WINDOW
    burst: int = 0
    """What a token bucket holds; 0: the amount."""
    ceiling: int = 0
    """Most that a dynamic limit may make of the amount; 0: the amount stands as it is written."""
    written: Limit | None = None
    """The limit as its rule has it, where a dynamic one is in force in its place."""

    @property
    def is_own(self) -> bool:
        """Whether the reference would count it otherwise."""
        return self.windowing is not None or self.algorithm is not Algorithm.FIXED_WINDOW

    @property
    def capacity(self) -> int:
        """Return what may be spent at once."""
        return self.burst or self.amount

    def under(self, amount: int) -> Limit:
        """Return the limit with a dynamic amount in force, at most the ceiling; a burst keeps its share of the amount."""
        mine = min(amount, self.ceiling)
        burst = -(-self.burst * mine // self.amount) if self.amount else self.burst
        return replace(self, amount=mine, burst=burst, written=self)

    @property
    def span(self) -> str:
        """Return the window's name, as no other has it."""
        if self.unit is not None:
            return self.unit.name.lower()
        return self.windowing.tag if self.windowing is not None else ""

    @property
    def words(self) -> str:
        """Return the window as people call it, behind `per`."""
        if self.unit is not None:
            return self.unit.name.lower()
        return self.windowing.words if self.windowing is not None else ""


class Windows:
    """Finds the window that a moment lies in."""

    def __init__(self, *, calendar_month: bool = False) -> None:
        self._calendar_month = calendar_month

    def at(self, unit: Unit, now: float) -> Window:
        """Return the window of `unit` around `now`."""
        if unit is Unit.MONTH and self._calendar_month:
            return calendar_month(now)
        start = int(now) // unit.seconds * unit.seconds
        return Window(start, start + unit.seconds)


def calendar_month(now: float) -> Window:
    """Return the month around `now` in UTC."""
    first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = first.replace(year=first.year + 1, month=1) if first.month == 12 else first.replace(month=first.month + 1)
    return Window(int(first.timestamp()), int(after.timestamp()))
