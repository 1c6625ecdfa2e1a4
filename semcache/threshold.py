"""The lowest score that keeps a target error, with an upper bound, over the requests that were seen.

For a threshold t, with p the curve and s the scores of recent candidates:

    wrong(t) = Σ over s ≥ t of (1 - p(s))             expected wrong answers
    upper(t) = wrong(t) + z · √(gᵀ Σ g)               g: its gradient by the curve's parameters (delta method)

1. Per hits, upper(t) / hits(t) must stay within the target; per requests, upper(t) / requests.
2. Where fewer than `REQUESTS_MIN` requests were seen, nothing is known of how scores are spread: then every single
   hit must keep the target by itself. That is stricter than either.
3. The curve is one shape for all scores, and at the top, where it matters, seldom quite the right one. So the labels
   at or above a threshold, where there are `LABELS_MIN` of them, must themselves not be wrong more often.
4. None keeps it: no threshold, the gate is closed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from semcache.logistic import Curve, Numbers, probabilities

REQUESTS_MIN = 200
LABELS_MIN = 30
_GRID = np.linspace(20.0, -20.0, 1_601)


class Basis(Enum):
    """What a target error is a share of."""

    HITS = "hits"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True)
class Target:
    """The share of wrong answers that an operator accepts."""

    error: float
    basis: Basis = Basis.HITS

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0.0 < self.error < 1.0:
            raise ValueError(f"target error {self.error} is not between 0 and 1")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A score to serve from, and what is expected of it."""

    score: float
    """`inf`: closed."""
    hit_rate: float = 0.0
    """Share of the requests seen that it would have served."""
    error: float = 0.0
    """Expected wrong answers, as a share of the target's basis."""
    error_upper: float = 1.0
    """Its upper bound."""

    @property
    def is_closed(self) -> bool:
        """Return whether nothing is served."""
        return math.isinf(self.score)


CLOSED = Threshold(math.inf)


@dataclass(frozen=True, slots=True)
class Labels:
    """Scores that were judged, and 1 or 0 for right or wrong."""

    scores: Numbers
    rights: Numbers


def lowest_threshold(
    curve: Curve, candidates: Numbers, requests: int, target: Target, z: float, labels: Labels | None = None
) -> Threshold:
    """Return the lowest threshold that keeps `target`.

    Args:
        curve: from score to probability.
        candidates: scores of the candidates of recent requests; vetoed ones left out.
        requests: how many recent requests there were, those without a candidate included.
        target: what is to be kept.
        z: how many standard deviations above the expected error the bound lies.
        labels: what was judged lately; None: only the curve counts.
    """
    if requests < REQUESTS_MIN:
        return _pointwise(curve, target, z)
    scores = np.sort(candidates)[::-1]
    if not len(scores):
        return CLOSED
    hits = np.arange(1, len(scores) + 1)
    basis = hits if target.basis is Basis.HITS else np.full(len(scores), requests)
    wrong, upper = _cumulated(curve, scores, z)
    is_last_of_score = np.append(scores[1:] != scores[:-1], True)  # equal scores are served together
    is_kept = (upper <= target.error * basis) & is_last_of_score
    if labels is not None:
        is_kept &= _share_wrong(labels, scores, z) * hits <= target.error * basis
    kept = np.flatnonzero(is_kept)
    if not len(kept):
        return CLOSED
    at = int(kept[-1])
    return Threshold(float(scores[at]), (at + 1) / requests, float(wrong[at] / basis[at]), float(upper[at] / basis[at]))


def _cumulated(curve: Curve, scores: Numbers, z: float) -> tuple[Numbers, Numbers]:
    """Return expected wrong answers and their upper bound, served down to each score."""
    right = probabilities(curve, scores)
    slope = right * (1 - right)
    by_intercept, by_slope = np.cumsum(slope), np.cumsum(slope * (scores - curve.pivot))
    variance = (
        by_intercept**2 * curve.variance_intercept
        + by_slope**2 * curve.variance_slope
        + 2 * by_intercept * by_slope * curve.covariance
    )
    wrong = np.cumsum(1 - right)
    return wrong, wrong + z * np.sqrt(np.maximum(variance, 0.0))


def _share_wrong(labels: Labels, scores: Numbers, z: float) -> Numbers:
    """Return how often labels at or above each score are wrong, at the bound; 0 where there are too few to say."""
    order = np.argsort(-labels.scores, kind="stable")
    wrong = np.concatenate([[0.0], np.cumsum(1 - labels.rights[order])])
    count = np.searchsorted(-labels.scores[order], -scores, side="right")
    of = np.maximum(count, 1)
    share = wrong[count] / of
    return np.where(count >= LABELS_MIN, share + z * np.sqrt(share * (1 - share) / of), 0.0)


def _pointwise(curve: Curve, target: Target, z: float) -> Threshold:
    """Return the lowest score at which a hit, at the bound, is not wrong too often; those above it are right more often."""
    offset = _GRID - curve.pivot
    variance = curve.variance_intercept + offset**2 * curve.variance_slope + 2 * offset * curve.covariance
    log_odds = curve.intercept + curve.slope * offset - z * np.sqrt(np.maximum(variance, 0.0))
    kept = np.flatnonzero(log_odds >= math.log((1 - target.error) / target.error))
    if not len(kept):
        return CLOSED
    score = float(_GRID[kept[-1]])
    return Threshold(score, 0.0, 1 - curve.probability(score), target.error)
