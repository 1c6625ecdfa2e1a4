"""Scores of pairs by models that saw neither side: nothing is judged by what it was fitted on.

Texts are dealt to folds that part no class. A pair of folds i and j is scored by a model of all pairs that touch
neither, so the whole stream can be run although every model is blind to what it scores.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.quality import recipe
from bench.quality.boosting import Matrix
from bench.quality.data import folds
from bench.quality.material import Material

FOLDS = 5


def scores(material: Material, count: int = FOLDS, seed: int = 0) -> tuple[Matrix, Matrix]:
    """Return the scores of the labelled pairs and of the neighbours."""
    fold = np.array(folds(material.corpus, count, seed))
    sheets = (material.labelled, material.near)
    found = tuple(np.full(len(one), np.nan) for one in sheets)
    places = [(fold[one.a], fold[one.b]) for one in sheets]
    for i, j in _pairs(count):
        labelled, near = (~np.isin(a, (i, j)) & ~np.isin(b, (i, j)) for a, b in places)
        trees = recipe.fit(material.labelled.where(labelled), material.near.where(near), material.is_nearest[near])
        for one, (a, b), result in zip(sheets, places, found, strict=True):
            held_out = ((a == i) & (b == j)) | ((a == j) & (b == i))
            result[held_out] = recipe.score(trees, one.rows[held_out])
    return found[0], found[1]


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(count) for j in range(i, count))
