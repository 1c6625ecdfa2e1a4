"""The stream: the cache starts empty, a miss is inserted, a hit is not.

A hit is right if the entry is of the request's class. *Strict* counts every
other hit as wrong, though many of these pairs were never labelled; *known* only
counts hits between classes that a label says are different. Use known for
levels, strict only side by side in one run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from bench.quality.neighbours import Neighbours
from bench.quality.sheet import Sheet
from semcache.judging import NEAREST

Scores = npt.NDArray[np.float64]  # one per pair of Neighbours; -inf is a veto
# Thresholds that are searched: one more or less is a few requests of ten thousand.
LEVELS = 8_192


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of the stream came to."""

    requests: int
    hits: int
    strict_wrong: int
    known_wrong_requests: tuple[int, ...]

    @property
    def hit_rate(self) -> float:
        """Return hits per request."""
        return self.hits / self.requests

    @property
    def strict_error(self) -> float:
        """Return wrong hits per request, every unlabelled pair counted as wrong."""
        return self.strict_wrong / self.requests

    @property
    def known_wrong(self) -> int:
        """Return the wrong hits that a label proves."""
        return len(self.known_wrong_requests)

    @property
    def known_precision(self) -> float:
        """Return the share of right ones among the hits that labels judge."""
        right = self.hits - self.strict_wrong
        return right / (right + self.known_wrong) if self.hits else 1.0


class Stream:
    """A corpus in one order, run at any threshold of any score."""

    def __init__(self, near: Neighbours, sheet: Sheet, order: Sequence[int]) -> None:
        self.order = list(order)
        self._starts = near.starts.tolist()
        self._columns = near.columns.tolist()
        self._is_same = sheet.is_same.tolist()
        self._is_different = (sheet.is_known & ~sheet.is_same).tolist()

    def nearest(self, request: int, inserted: Sequence[bool], vetoed: Sequence[bool]) -> int | None:
        """Return the position of the nearest pair whose entry is there, or of one of the next that is not refused."""
        pairs = range(self._starts[request], self._starts[request + 1])
        near = islice((at for at in pairs if inserted[self._columns[at]]), NEAREST)
        return next((at for at in near if not vetoed[at]), None)

    def run(self, scores: Scores, threshold: float) -> Outcome:
        """Serve what scores at least `threshold`, asking only the nearest entry that is not refused."""
        accepted, vetoed = (scores >= threshold).tolist(), np.isneginf(scores).tolist()
        inserted = [False] * len(self.order)
        hits = wrong = 0
        known_wrong = []
        for request in self.order:
            nearest = self.nearest(request, inserted, vetoed)
            if nearest is None or not accepted[nearest]:
                inserted[request] = True
                continue
            hits += 1
            wrong += not self._is_same[nearest]
            if self._is_different[nearest]:
                known_wrong.append(request)
        return Outcome(len(self.order), hits, wrong, tuple(known_wrong))

    def at_hit_rate(self, scores: Scores, rate: float) -> tuple[float, Outcome]:
        """Return the threshold with that hit rate, and what it came to."""
        return self._search(scores, lambda outcome: outcome.hit_rate <= rate)

    def at_strict_error(self, scores: Scores, error: float) -> tuple[float, Outcome]:
        """Return the lowest threshold that keeps the strict error, and what it came to."""
        return self._search(scores, lambda outcome: outcome.strict_error <= error)

    def _search(self, scores: Scores, is_kept: Callable[[Outcome], bool]) -> tuple[float, Outcome]:
        levels = np.unique(scores[np.isfinite(scores)])
        levels = levels[:: max(1, len(levels) // LEVELS)]
        low, high = 0, len(levels) - 1
        while low < high:
            middle = (low + high) // 2
            if is_kept(self.run(scores, levels[middle])):
                high = middle
            else:
                low = middle + 1
        return float(levels[low]), self.run(scores, levels[low])
