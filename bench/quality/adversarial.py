"""Pairs made to mislead: what share is accepted at the threshold that gives a stream its hit rate.

Swapped questions come from one fold, and the model that judges them saw nothing of it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.quality import recipe, sheet
from bench.quality.boosting import Trees
from bench.quality.data import Pair, folds, read_pairs
from bench.quality.material import Material
from bench.quality.swaps import SWAPS, swapped
from semcache.prompt import normalise

SWAPPED_MAX = 200
NEGATIONS_MAX = 1_000
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Accepted:
    """How much of one group is accepted, by plain similarity and by the verifier."""

    group: str
    pairs: int
    cosine: float
    ours: float
    is_wanted: bool
    """More is better."""


def held_out(material: Material) -> tuple[Trees, list[str]]:
    """Return a model that saw nothing of one fold, and the texts of that fold."""
    fold = np.array(folds(material.corpus, _FOLDS, 0))
    labelled, near = ((fold[one.a] != 0) & (fold[one.b] != 0) for one in (material.labelled, material.near))
    trees = recipe.fit(material.labelled.where(labelled), material.near.where(near), material.is_nearest[near])
    return trees, [text for text, place in zip(material.corpus.texts, fold, strict=True) if place == 0]


def groups(texts: Sequence[str], negations: Path | None, paraphrases: Path | None) -> dict[str, list[Pair]]:
    """Return pairs by the name of their group; those of one group are all the same, or all different."""
    found = {f"{name} swapped": swapped(texts, swap, SWAPPED_MAX, 1) for name, swap in SWAPS.items()}
    if negations is not None:
        pairs = read_pairs(negations)
        different = [Pair(pair.a, pair.b, is_same=False) for pair in pairs if pair.is_same]
        same = [Pair(pair.a, pair.b, is_same=True) for pair in pairs if not pair.is_same]
        draw = random.Random(1)
        found["negations"] = draw.sample(different, min(len(different), NEGATIONS_MAX))
        found["not negated"] = draw.sample(same, min(len(same), NEGATIONS_MAX))
    if paraphrases is not None:
        cases = json.loads(paraphrases.read_text(encoding="utf-8"))
        found["paraphrases"] = [
            Pair(normalise(case["original_question"]), normalise(other), is_same=True)
            for case in cases
            for other in case["similar_questions"]
        ]
    return found


def accepted(
    material: Material, trees: Trees, group: str, pairs: Sequence[Pair], levels: tuple[float, float]
) -> Accepted:
    """Judge one group at the thresholds of cosine and of the verifier."""
    one = sheet.of_pairs(pairs, material.embed, material.weights)
    ours = np.where(one.is_vetoed, -np.inf, recipe.score(trees, one.rows))
    return Accepted(
        group,
        len(pairs),
        float((one.rows[:, 0] >= levels[0]).mean()),
        float((ours >= levels[1]).mean()),
        pairs[0].is_same,
    )
