"""Fits boosted trees with LightGBM and writes them down as plain splits and leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from semcache.verifier.features import FEATURES
from semcache.verifier.trees import Split

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]

ROUNDS_MAX = 250
SETTINGS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.06,
    "num_leaves": 15,
    "min_data_in_leaf": 40,
    "lambda_l2": 1.0,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "verbosity": -1,
    # More similarity never lowers a score: a threshold then means one thing.
    "monotone_constraints": [int(name == "similarity") for name in FEATURES],
}


@dataclass(frozen=True, slots=True)
class Trees:
    """A fitted model in plain form; leaves of the first tree carry the start value."""

    splits: list[Split]
    leaves: list[list[float]]

    def joined(self, other: "Trees") -> "Trees":
        """Return the model whose score is the sum of both."""
        shift = len(self.leaves)
        moved = [Split(s.tree + shift, s.feature, s.threshold, s.left_leaves) for s in other.splits]
        return Trees(self.splits + moved, self.leaves + other.leaves)


def fit(rows: Matrix, labels: Labels, rounds: int, settings: dict[str, Any] | None = None) -> lightgbm.Booster:
    """Fit `rounds` trees."""
    return lightgbm.train({**SETTINGS, **(settings or {})}, lightgbm.Dataset(rows, labels.astype(float)), rounds)


def plain(booster: lightgbm.Booster) -> Trees:
    """Flatten a fitted model."""
    splits: list[Split] = []
    leaves: list[list[float]] = []
    for tree, root in enumerate(booster.dump_model()["tree_info"]):
        values: list[float] = []
        _flatten(root["tree_structure"], tree, values, splits)
        leaves.append(values)
    return Trees(splits, leaves)


def _flatten(node: dict[str, Any], tree: int, values: list[float], splits: list[Split]) -> None:
    if "leaf_value" in node:
        values.append(float(node["leaf_value"]))
        return
    first = len(values)
    _flatten(node["left_child"], tree, values, splits)
    left = sum(1 << leaf for leaf in range(first, len(values)))
    splits.append(Split(tree, int(node["split_feature"]), float(node["threshold"]), left))
    _flatten(node["right_child"], tree, values, splits)


def scores(booster: lightgbm.Booster, rows: Matrix) -> npt.NDArray[np.float64]:
    """Return raw scores (log odds)."""
    raw: npt.NDArray[np.float64] = booster.predict(rows, raw_score=True)
    return raw


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation, for tables."""
    return float(np.std(values))
