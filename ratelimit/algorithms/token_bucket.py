"""The token bucket (GCRA): hits leave evenly, `limit` per window; up to `burst` may be spent at once.

Kept as the level of a leaky bucket, which is GCRA's other form (ITU-T I.371): `level` is how far the theoretical
arrival time lies ahead, in hits. A level of 0 is a full bucket of tokens.
"""

from __future__ import annotations

from math import ceil

from ratelimit.draw import Draw, Terms
from ratelimit.store import COUNT_MAX


class TokenBucket:
    """One level, and when it was true."""

    def __init__(self, terms: Terms) -> None:
        self._limit = terms.limit
        self._window_ms = terms.window_ms
        self._level = 0.0
        self._at_ms = 0

    def fill_at(self, limit: int) -> None:
        """Have it fill at another rate, also since it was written last: in Redis each call brings its terms, too."""
        self._limit = limit

    def spent(self, _start: int, now_ms: int) -> float:
        """Return the level; with a fraction, which callers round up."""
        # Looking leaves it as it was: levels are worked out from the last write, as in Redis, to the same bit.
        passed_ms = max(0, now_ms - self._at_ms)
        return max(0.0, self._level - passed_ms * self._limit / self._window_ms)

    def add(self, _draw: Draw, start: int, hits: int, now_ms: int) -> None:
        """Raise the level."""
        self._level = min(float(COUNT_MAX), self.spent(start, now_ms) + hits)
        self._at_ms = now_ms

    def take(self, start: int, hits: int, now_ms: int) -> None:
        """Lower the level, not below 0."""
        self._level = max(0.0, self.spent(start, now_ms) - hits)
        self._at_ms = now_ms

    def reset_ms(self, draw: Draw, excess: float, now_ms: int) -> int:
        """Return when `excess` hits have left; where that many never will, or none must, when all have."""
        level = self.spent(draw.start, now_ms)
        leaving = excess if 0 < excess <= level else level
        return min(COUNT_MAX, ceil(leaving * self._window_ms / self._limit)) if self._limit else COUNT_MAX
