"""A clock that stands until it is turned."""

from __future__ import annotations


class FakeClock:
    """Starts well inside every window: 2023-11-15 00:20:00 UTC, a Wednesday."""

    def __init__(self, wall: float = 1_700_007_600.0) -> None:
        self._wall = wall
        self._steady = 1_000.0

    def wall(self) -> float:
        return self._wall

    def steady(self) -> float:
        return self._steady

    def advance(self, seconds: float) -> None:
        self._wall += seconds
        self._steady += seconds
