"""Boosted trees, scored without walking them.

A tree of at most 16 leaves is a set of bits, leaf 0 the lowest and leftmost. A
split whose test fails (value > threshold) rules out every leaf of its left
branch. Whatever order the failed splits are taken in, the lowest bit that is
left is the leaf where a walk would end.

So each feature's thresholds, over all trees, are sorted once; row r of its table
is what remains of every tree after the r lowest thresholds have failed. A score
is one binary search per feature, one AND over the rows, one sum of leaves: about
15 µs for 250 trees, where walking them in Python takes 80.

The form is that of QuickScorer (Lucchese et al., 2015).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEAVES_MAX = 16
_FULL = 0xFFFF
# Place of the lowest bit of every set; of the empty one, which no tree is left with, any.
_LOWEST = np.array([max(0, (bits & -bits).bit_length() - 1) for bits in range(_FULL + 1)], np.uint8)


@dataclass(frozen=True, slots=True)
class Split:
    """A test that sends values above `threshold` to the right."""

    tree: int
    feature: int
    threshold: float
    left_leaves: int  # bits of the leaves of its left branch


class Forest:
    """Trees that are added up. Immutable; one may be shared by all threads."""

    __slots__ = ("_leaves", "_masks", "_offsets", "_thresholds", "_trees")

    def __init__(self, splits: Sequence[Split], leaves: Sequence[Sequence[float]], features: int) -> None:
        if any(len(tree) > LEAVES_MAX for tree in leaves):
            raise ValueError(f"a tree has more than {LEAVES_MAX} leaves")
        rows: list[npt.NDArray[np.uint16]] = []
        self._thresholds: list[list[float]] = []
        self._offsets: list[int] = []
        for feature in range(features):
            own = sorted((split for split in splits if split.feature == feature), key=lambda split: split.threshold)
            self._offsets.append(len(rows))
            self._thresholds.append([split.threshold for split in own])
            row = np.full(len(leaves), _FULL, np.uint16)
            rows.append(row)
            for split in own:
                row = row.copy()
                row[split.tree] &= _FULL ^ split.left_leaves
                rows.append(row)
        self._masks = np.array(rows, np.uint16).reshape(len(rows), len(leaves))
        # Indexed by tree and by the lowest bit that is left.
        table = np.zeros((len(leaves), LEAVES_MAX), np.float64)
        for tree, values in enumerate(leaves):
            table[tree, : len(values)] = values
        self._leaves = table.reshape(-1)
        self._trees = np.arange(len(leaves), dtype=np.int64) * LEAVES_MAX

    def score(self, features: Sequence[float]) -> float:
        """Return the sum over all trees for one row of features."""
        rows = [
            offset + bisect_left(thresholds, value)
            for offset, thresholds, value in zip(self._offsets, self._thresholds, features, strict=True)
        ]
        left = np.bitwise_and.reduce(self._masks[rows], axis=0)
        return float(self._leaves[self._trees + _LOWEST[left]].sum())
