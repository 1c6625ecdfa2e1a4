"""The trees as they are served score as scikit-learn does, which fitted them."""

from __future__ import annotations

import numpy as np
import pytest

from bench.quality.boosting import fit, plain
from semcache.verifier.features import FEATURES


@pytest.fixture(scope="module")
def rows() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    draw = np.random.default_rng(7)
    smooth = draw.normal(size=(3_000, len(FEATURES)))
    # Half of the features are small whole numbers, as counts are: values that equal a threshold.
    smooth[:, ::2] = np.round(smooth[:, ::2])
    return smooth


@pytest.mark.parametrize("rounds", [1, 60])
def test_a_flattened_model_scores_as_the_one_that_was_fitted(
    rows: np.ndarray[tuple[int, int], np.dtype[np.float64]], rounds: int
) -> None:
    labels = rows[:, 0] + rows[:, 1] * rows[:, 2] > 0.3
    model = fit(rows, labels, rounds)

    forest = plain(model).forest()

    assert [forest.score(row) for row in rows.tolist()] == pytest.approx(model.decision_function(rows), abs=1e-9)


def test_scaled_and_joined_models_add_up(rows: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    one, other = (plain(fit(rows, rows[:, column] > 0, 5)) for column in (0, 3))

    both = one.scaled(0.25).joined(other).forest()

    expected = [0.25 * one.forest().score(row) + other.forest().score(row) for row in rows[:50].tolist()]
    assert [both.score(row) for row in rows[:50].tolist()] == pytest.approx(expected)
