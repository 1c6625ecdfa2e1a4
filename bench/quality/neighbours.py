"""All pairs of a corpus that are near enough to be candidates of each other."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.quality.embedding import Vectors

FLOOR = 0.65
_BLOCK = 1000


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Pairs (row, column) by falling similarity within a row; both directions are present."""

    starts: npt.NDArray[np.int64]  # row i's pairs are starts[i]:starts[i + 1]
    columns: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float64]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Return the row of every pair."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def neighbours(vectors: Vectors, floor: float = FLOOR) -> Neighbours:
    """Compare every vector with every other, in blocks."""
    counts, columns, similarities = [0], [], []
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK] @ vectors.T
        for offset, row in enumerate(block):
            row[start + offset] = -1.0
            near = np.flatnonzero(row >= floor)
            near = near[np.argsort(-row[near], kind="stable")]
            counts.append(len(near))
            columns.append(near)
            similarities.append(row[near].astype(np.float64))
    return Neighbours(np.cumsum(counts), np.concatenate(columns), np.concatenate(similarities))
