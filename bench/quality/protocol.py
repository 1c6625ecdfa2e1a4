"""The stream: the cache starts empty, a miss is inserted, a hit is not.

A hit is right if the entry is of the request's class. *Strict* counts every
other hit as wrong, though many of these pairs were never labelled; *known* only
counts hits between classes that a label says are different. Use known for
levels, strict only side by side in one run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.quality.data import Corpus, ordered
from bench.quality.neighbours import Neighbours

Scores = npt.NDArray[np.float64]  # one per pair of Neighbours; -inf is a veto


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of the stream came to."""

    requests: int
    hits: int
    strict_wrong: int
    known_wrong: int
    known_right: int

    @property
    def hit_rate(self) -> float:
        """Return hits per request."""
        return self.hits / self.requests

    @property
    def strict_error(self) -> float:
        """Return wrong hits per request, every unlabelled pair counted as wrong."""
        return self.strict_wrong / self.requests


class Stream:
    """A corpus in one order, run at any threshold of any score."""

    def __init__(self, data: Corpus, near: Neighbours, order: Sequence[int]) -> None:
        self._order = list(order)
        self._starts = near.starts.tolist()
        self._columns = near.columns.tolist()
        classes = np.array(data.classes)
        rows = near.rows
        known = data.known_different()
        self.is_same = classes[rows] == classes[near.columns]
        pairs = zip(classes[rows].tolist(), classes[near.columns].tolist(), strict=True)
        self._is_same = self.is_same.tolist()
        self._is_different = [ordered(a, b) in known for a, b in pairs]

    def run(self, scores: Scores, threshold: float) -> Outcome:
        """Serve what scores at least `threshold`, asking only the nearest entry."""
        accepted = (scores >= threshold).tolist()
        starts, columns = self._starts, self._columns
        inserted = [False] * len(self._order)
        hits = wrong = known_wrong = 0
        for request in self._order:
            nearest = next((at for at in range(starts[request], starts[request + 1]) if inserted[columns[at]]), None)
            if nearest is None or not accepted[nearest]:
                inserted[request] = True
                continue
            hits += 1
            wrong += not self._is_same[nearest]
            known_wrong += self._is_different[nearest]
        return Outcome(len(self._order), hits, wrong, known_wrong, hits - wrong)

    def at_hit_rate(self, scores: Scores, rate: float) -> tuple[float, Outcome]:
        """Return the threshold with that hit rate, and what it came to."""
        return self._search(scores, lambda outcome: outcome.hit_rate <= rate)

    def at_strict_error(self, scores: Scores, error: float) -> tuple[float, Outcome]:
        """Return the lowest threshold that keeps the strict error, and what it came to."""
        return self._search(scores, lambda outcome: outcome.strict_error <= error)

    def _search(self, scores: Scores, is_kept: Callable[[Outcome], bool]) -> tuple[float, Outcome]:
        levels = np.unique(scores[np.isfinite(scores)])
        low, high = 0, len(levels) - 1
        while low < high:
            middle = (low + high) // 2
            if is_kept(self.run(scores, levels[middle])):
                high = middle
            else:
                low = middle + 1
        return float(levels[low]), self.run(scores, levels[low])
