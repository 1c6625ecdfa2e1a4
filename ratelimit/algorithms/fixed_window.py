"""The fixed window: hits leave together, when their window ends."""

from __future__ import annotations

from ratelimit.draw import Draw
from ratelimit.store import COUNT_MAX


class FixedWindow:
    """Counts of the windows that may still be charged: the current one, and those whose holds are open."""

    def __init__(self, memory_ms: int) -> None:
        self._memory_ms = memory_ms
        self._counts: dict[int, list[int]] = {}  # start ─▶ [count, end of its life in ms]

    def spent(self, start: int, _now_ms: int) -> float:
        """Return what was spent in the window from `start`."""
        count = self._counts.get(start)
        return count[0] if count else 0

    def add(self, draw: Draw, start: int, hits: int, now_ms: int) -> None:
        """Spend hits in the window from `start`, which may be over."""
        count = self._counts.get(start)
        if count is None:
            self._drop(now_ms)
            end = draw.end + start - draw.start
            count = self._counts[start] = [0, max(end * 1000, now_ms) + self._memory_ms]
        count[0] = min(COUNT_MAX, count[0] + hits)

    def take(self, start: int, hits: int, _now_ms: int) -> None:
        """Give hits back, not below 0; a window that is not there is not made."""
        count = self._counts.get(start)
        if count is not None:
            count[0] = max(0, count[0] - hits)

    def reset_ms(self, draw: Draw, _excess: float, now_ms: int) -> int:
        """Return the time to the window's end."""
        return max(0, draw.end * 1000 - now_ms)

    def _drop(self, now_ms: int) -> None:
        for start in [start for start, (_, end) in self._counts.items() if end <= now_ms]:
            del self._counts[start]
