"""Counters of our own modes in this process: found by stem, bounded, and gone when nothing of them counts any more.

Each has one timer in a heap. A timer that goes off for a counter that was used since is set again; so a call costs
nothing but a new time, and there are never more timers than counters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace

from ratelimit.admission import Counter, make_meter
from ratelimit.algorithms.token_bucket import TokenBucket
from ratelimit.draw import MEMORY_LIVES, Algorithm, Draw

# Timers looked at in one call, more than the one it may set.
_SWEEP_PER_CALL = 2

# Timers set again before one counter leaves, where the table is full: a call must not look through all of it.
_RESETS_MAX = 16


@dataclass(slots=True)
class _Kept:
    counter: Counter
    ends_ms: int


class MemoryCounters:
    """A bounded table of counters; where it is full, what ends first leaves, and `tell` hears of it."""

    def __init__(self, counters_max: int, holds_max: int, tell: Callable[[], None]) -> None:
        self._counters_max = counters_max
        self._holds_max = holds_max
        self._tell = tell
        self._kept: dict[str, _Kept] = {}
        self._timers: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, draw: Draw, now_ms: int) -> Counter:
        """Return the counter of a draw, made if there is none."""
        ends_ms = now_ms + life_ms(draw)
        kept = self._kept.get(draw.stem)
        if kept is not None:
            kept.ends_ms = max(kept.ends_ms, ends_ms)
            if isinstance(kept.counter.meter, TokenBucket):
                kept.counter.meter.fill_at(draw.terms.limit)
            return kept.counter
        self._sweep(now_ms)
        while len(self._kept) >= self._counters_max:
            self._drop_first()
        kept = self._kept[draw.stem] = _Kept(Counter(make_meter(draw.terms), self._holds_max), ends_ms)
        heappush(self._timers, (ends_ms, draw.stem))
        return kept.counter

    def _drop_first(self) -> None:
        """Drop what ends first, as far as timers know: the first ones are set anew, for counters used since."""
        for _ in range(_RESETS_MAX):
            due_ms, stem = self._timers[0]
            if self._kept[stem].ends_ms == due_ms:
                break
            heapreplace(self._timers, (self._kept[stem].ends_ms, stem))
        _, stem = heappop(self._timers)
        del self._kept[stem]
        self._tell()

    def known(self, stem: str) -> Counter | None:
        """Return a counter if there is one."""
        kept = self._kept.get(stem)
        return None if kept is None else kept.counter

    def _sweep(self, now_ms: int) -> None:
        for _ in range(_SWEEP_PER_CALL):
            if not self._timers or self._timers[0][0] > now_ms:
                return
            _, stem = heappop(self._timers)
            if self._kept[stem].ends_ms > now_ms:
                heappush(self._timers, (self._kept[stem].ends_ms, stem))
            else:
                del self._kept[stem]


def life_ms(draw: Draw) -> int:
    """Return how long a counter matters after a draw: its hits, its holds, and the ids it remembers."""
    terms = draw.terms
    match terms.algorithm:
        case Algorithm.SLIDING_WINDOW:
            hits_ms = 2 * terms.window_ms
        case Algorithm.TOKEN_BUCKET:
            # A bucket fills at `limit` per window; what callers owe beyond its capacity is doubled for good measure.
            hits_ms = 2 * terms.window_ms * max(1, -(-terms.capacity // max(1, terms.limit)))
        case _:
            # All of the window from now on: the clocks of replicas differ.
            hits_ms = (draw.end - draw.start) * 1000
    return max(hits_ms, terms.remember_ms) + terms.hold_ms * (1 + MEMORY_LIVES)
