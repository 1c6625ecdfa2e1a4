"""Fits boosted trees with scikit-learn and writes them down as plain splits and leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from semcache.verifier.features import FEATURES
from semcache.verifier.trees import LEAVES_MAX, Forest, Split

_SIMILARITY = FEATURES.index("similarity")

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Trees:
    """A fitted model in plain form; leaves of the first tree carry the start value."""

    splits: list[Split]
    leaves: list[list[float]]
    features: int = len(FEATURES)

    def forest(self) -> Forest:
        """Return the form that is served."""
        return Forest(self.splits, self.leaves, self.features)

    def scaled(self, factor: float) -> Trees:
        """Return the model whose score is `factor` times as much."""
        return Trees(self.splits, [[factor * value for value in tree] for tree in self.leaves], self.features)

    def joined(self, other: Trees) -> Trees:
        """Return the model whose score is the sum of both."""
        shift = len(self.leaves)
        moved = [Split(s.tree + shift, s.feature, s.threshold, s.left_leaves) for s in other.splits]
        return Trees(self.splits + moved, self.leaves + other.leaves, other.features)


def fit(rows: Matrix, labels: Labels, rounds: int) -> HistGradientBoostingClassifier:
    """Fit `rounds` trees."""
    model = HistGradientBoostingClassifier(
        learning_rate=0.06,
        max_iter=rounds,
        max_leaf_nodes=LEAVES_MAX - 1,
        min_samples_leaf=40,
        l2_regularization=1.0,
        # More similarity never lowers a score: a threshold then means one thing.
        monotonic_cst=[int(column == _SIMILARITY) for column in range(rows.shape[1])],
        early_stopping=False,
        random_state=1,
    )
    # One thread: on a shared machine OpenMP's threads wait for each other more than they work.
    with threadpool_limits(1):
        return model.fit(rows, labels)


def plain(model: HistGradientBoostingClassifier) -> Trees:
    """Flatten a fitted model.

    scikit-learn has no public name for the nodes of these trees;
    `tests/contract/test_trees.py` holds what is read here to its predictions.
    """
    splits: list[Split] = []
    leaves: list[list[float]] = []
    for tree, (predictor,) in enumerate(model._predictors):  # noqa: SLF001
        values: list[float] = []
        _flatten(predictor.nodes, 0, tree, values, splits)
        leaves.append(values)
    start = float(np.asarray(model._baseline_prediction).item())  # noqa: SLF001
    leaves[0] = [value + start for value in leaves[0]]
    return Trees(splits, leaves, int(model.n_features_in_))


def _flatten(nodes: npt.NDArray[np.void], at: int, tree: int, values: list[float], splits: list[Split]) -> None:
    node = nodes[at]
    if node["is_leaf"]:
        values.append(float(node["value"]))
        return
    first = len(values)
    _flatten(nodes, int(node["left"]), tree, values, splits)
    left = sum(1 << leaf for leaf in range(first, len(values)))
    splits.append(Split(tree, int(node["feature_idx"]), float(node["num_threshold"]), left))
    _flatten(nodes, int(node["right"]), tree, values, splits)
