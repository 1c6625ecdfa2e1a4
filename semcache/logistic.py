"""A logistic curve from score to probability, and how well it is known.

    log odds of being right = intercept + slope · (score - pivot)

1. `fit` finds the mode given labels and a curve to start from. The curve is the prior: its covariance says how many
   labels it is worth. Without labels the answer is the prior itself.
2. The slope is never negative: a higher score is never less probable.
3. The covariance is that of the normal distribution with the same curvature at the mode (Laplace). What is derived
   from it by the delta method holds for dozens of labels or more; with fewer it is the prior that speaks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating[Any]]

_STEPS_MAX = 25
_STEP_MIN = 1e-9
# Beyond this a probability is 0 or 1 in doubles and its curvature nothing.
_LOG_ODDS_MAX = 35.0


@dataclass(frozen=True, slots=True)
class Curve:
    """Intercept and slope with their covariance."""

    pivot: float
    intercept: float
    slope: float
    variance_intercept: float
    variance_slope: float
    covariance: float = 0.0

    def probability(self, score: float) -> float:
        """Return how probable it is that an answer with that score is right."""
        log_odds = self.intercept + self.slope * (score - self.pivot)
        return 1.0 / (1.0 + math.exp(-min(max(log_odds, -_LOG_ODDS_MAX), _LOG_ODDS_MAX)))

    @property
    def matrix(self) -> Numbers:
        """Return the covariance matrix."""
        return np.array([[self.variance_intercept, self.covariance], [self.covariance, self.variance_slope]])


def probabilities(curve: Curve, scores: Numbers) -> Numbers:
    """Return the probability for each score."""
    return _sigmoid(curve.intercept + curve.slope * (scores - curve.pivot))


def fit(scores: Numbers, rights: Numbers, prior: Curve) -> Curve:
    """Return the curve that labels and prior together make most probable; a label is 1 (right), 0, or between."""
    rows = np.column_stack([np.ones(len(scores)), scores - prior.pivot])
    start = np.array([prior.intercept, prior.slope])
    precision = np.linalg.inv(prior.matrix)
    at = start.copy()
    for _ in range(_STEPS_MAX):
        gradient, curvature = _derivatives(rows, rights, at, precision @ (at - start), precision)
        step = _damped(np.linalg.solve(curvature, gradient))
        moved = at - step
        moved[1] = max(moved[1], 0.0)
        is_done = bool(np.abs(moved - at).max() < _STEP_MIN)
        at = moved
        if is_done:
            break
    _, curvature = _derivatives(rows, rights, at, precision @ (at - start), precision)
    spread = np.linalg.inv(curvature)
    return Curve(prior.pivot, float(at[0]), float(at[1]), float(spread[0, 0]), float(spread[1, 1]), float(spread[0, 1]))


def _derivatives(
    rows: Numbers, targets: Numbers, at: Numbers, pull: Numbers, precision: Numbers
) -> tuple[Numbers, Numbers]:
    right = _sigmoid(rows @ at)
    gradient = rows.T @ (right - targets) + pull
    curvature = (rows * (right * (1 - right))[:, None]).T @ rows + precision
    return gradient, curvature


def _damped(step: Numbers) -> Numbers:
    """Return the step, shortened where Newton would leap out of the region that it knows."""
    length = float(np.abs(step).max())
    return step if length <= 1.0 else step / length


def _sigmoid(log_odds: Numbers) -> Numbers:
    bounded = np.clip(log_odds, -_LOG_ODDS_MAX, _LOG_ODDS_MAX)
    result: Numbers = 1.0 / (1.0 + np.exp(-bounded))
    return result
