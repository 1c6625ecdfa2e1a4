"""How the shipped score is made: which models, on which pairs, and how they are added.

    score = Σ share · model(features) + SLOPE · (similarity - 1)

Models differ in what they take for a label. *Related* pairs are proven, by their own label or by that of their
classes; *stream* pairs are the nearest neighbours of all texts, where classes that no label joins count as different.
The first know what changes an answer, the second how seldom a neighbour fits. Similarity alone is hard to beat on the
nearest pairs, so it keeps a weight of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.quality import boosting
from bench.quality.boosting import Labels, Matrix, Trees
from bench.quality.sheet import Sheet

SLOPE = 35.0
NEAREST = 5


@dataclass(frozen=True, slots=True)
class Part:
    """One model of the score."""

    share: float
    rounds: int
    has_stream: bool


PARTS = (Part(0.6, 250, has_stream=False), Part(0.4, 60, has_stream=True))


def fit(labelled: Sheet, neighbours: Sheet, is_nearest: Labels) -> Trees:
    """Fit all parts and return them as one model; `is_nearest` marks the stream pairs among the neighbours."""
    joined = Trees([], [])
    for part in PARTS:
        more = neighbours.where(is_nearest if part.has_stream else neighbours.is_known)
        rows = np.concatenate([labelled.rows, more.rows])
        labels = np.concatenate([labelled.is_same, more.is_same])
        joined = joined.joined(boosting.plain(boosting.fit(rows, labels, part.rounds)).scaled(part.share))
    return joined


def score(trees: Trees, rows: Matrix) -> Matrix:
    """Return the score of every row, as the verifier that is served computes it."""
    forest = trees.forest()
    return np.array([forest.score(row) for row in rows.tolist()]) + SLOPE * (rows[:, 0] - 1.0)
