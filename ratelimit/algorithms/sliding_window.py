"""The sliding window: no interval of its length ever holds more than the limit, with a state of fixed size.

    ├─┼─┼─┼─┼─┼─┼─┼─┤  slices of window / SLICES, from the epoch
          ▲         ▲
        oldest     now: what may be spent is  limit - (this slice and the SLICES before it)

1. An interval as long as the window touches at most SLICES + 1 slices in a row, and what those hold together is
   never let above the limit: so no interval exceeds it.
2. Hits leave with their whole slice, at most window / SLICES later than they could. A caller at the very limit is
   therefore held to SLICES / (SLICES + 1) of it: 97 %.
3. What is given back is taken from the oldest slices. Taken from newer ones it would make room twice over: once now,
   and once when the hits it really undoes leave by themselves.
"""

from __future__ import annotations

from ratelimit.draw import SLICES, Draw
from ratelimit.store import COUNT_MAX


class SlidingWindow:
    """Counts of the slices that still matter, in a ring."""

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._ring = [0] * (SLICES + 1)
        self._index = 0
        self._total = 0

    def spent(self, _start: int, now_ms: int) -> float:
        """Return what this slice and those before it hold."""
        self._advance(now_ms)
        return self._total

    def add(self, _draw: Draw, _start: int, hits: int, now_ms: int) -> None:
        """Spend hits in this slice."""
        self._advance(now_ms)
        hits = min(hits, COUNT_MAX - self._total)
        self._ring[self._index % (SLICES + 1)] += hits
        self._total += hits

    def take(self, _start: int, hits: int, now_ms: int) -> None:
        """Give hits back, from the oldest slice on."""
        self._advance(now_ms)
        for index in range(self._index - SLICES, self._index + 1):
            taken = min(hits, self._ring[index % (SLICES + 1)])
            self._ring[index % (SLICES + 1)] -= taken
            self._total -= taken
            hits -= taken

    def reset_ms(self, _draw: Draw, excess: float, now_ms: int) -> int:
        """Return when `excess` hits have left; where that many never will, or none must, when all have."""
        self._advance(now_ms)
        last = self._index - SLICES - 1
        left = 0
        for index in range(self._index - SLICES, self._index + 1):
            count = self._ring[index % (SLICES + 1)]
            if count:
                last, left = index, left + count
                if 0 < excess <= left:
                    break
        # Slice i ends at (i + 1) × window / SLICES and leaves a window after it.
        leaves_ms = -(-(last + SLICES + 1) * self._window_ms // SLICES)
        return max(0, leaves_ms - now_ms)

    def _advance(self, now_ms: int) -> None:
        # A clock that was set back finds the slice it left: nothing is freed early.
        index = max(self._index, now_ms * SLICES // self._window_ms)
        for gone in range(max(self._index + 1, index - SLICES), index + 1):
            self._total -= self._ring[gone % (SLICES + 1)]
            self._ring[gone % (SLICES + 1)] = 0
        self._index = index
