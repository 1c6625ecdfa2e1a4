"""From labelled pairs to a curve and a setting, each with its interval.

    pairs ─ similarity ─ verdict ─▶ refused by a guard, too far | scored ─▶ curve ─▶ threshold of every target

1. What a guard refuses, and what is so far away that the service does not look at it, is counted and left out of the
   curve, as in the service.
2. The curve starts from the shipped one, so that a few pairs move it a little and many decide it.
3. Intervals are 90 %: Wilson's for shares that were counted, the bootstrap over pairs for thresholds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from semcache.judging import SIMILARITY_MIN
from semcache.logistic import Curve, Numbers, fit
from semcache.threshold import Target, Threshold, lowest_threshold
from semcache.verifier.fitted import Fitted
from semcache.verifier.verdict import Verdict
from weir.calibration.labels import Pair

FAR = "similarity"
TARGETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
_Z_ONE_SIDED = 1.2816
_Z_TWO_SIDED = 1.6449
_DRAWS = 200

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """What one target error comes to on these pairs."""

    target: float
    threshold: Threshold
    confidence: float
    """Least confidence that is served; nan: nothing is."""
    confidence_interval: Interval
    served: int
    wrong: int
    hit_interval: Interval
    wrong_interval: Interval


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that is told."""

    pairs: int
    right: int
    refused_right: Counter[str]
    """Pairs that fit and are not looked at, by the guard that refuses them, or `FAR`."""
    refused_wrong: Counter[str]
    scores: Numbers
    rights: Numbers
    curve: Curve
    rows: list[Row]

    @property
    def least(self) -> Row | None:
        """Return the strictest target that serves anything."""
        return next((row for row in self.rows if row.served), None)


def study(pairs: Sequence[Pair], similarities: Sequence[float], shipped: Fitted, targets: Sequence[float]) -> Study:
    """Judge all pairs and fit."""
    verdicts = [
        shipped.verifier.verify(pair.prompt, pair.candidate, similarity)
        for pair, similarity in zip(pairs, similarities, strict=True)
    ]
    refusals = [_refusal(*each) for each in zip(verdicts, similarities, strict=True)]
    is_scored = np.array([not refusal for refusal in refusals])
    scores = np.array([verdict.score for verdict in verdicts])[is_scored]
    rights = np.array([float(pair.fits) for pair in pairs])[is_scored]
    curve = fit(scores, rights, shipped.curve)
    draws = _bootstrap(scores, rights, shipped.curve)
    rows = [_row(Target(target), scores, rights, len(pairs), (curve, *draws)) for target in sorted(targets)]
    return Study(
        pairs=len(pairs),
        right=sum(pair.fits for pair in pairs),
        refused_right=_refused(pairs, refusals, fits=True),
        refused_wrong=_refused(pairs, refusals, fits=False),
        scores=scores,
        rights=rights,
        curve=curve,
        rows=rows,
    )


def _refusal(verdict: Verdict, similarity: float) -> str:
    if similarity < SIMILARITY_MIN:
        return FAR
    return verdict.guard.value if verdict.guard else ""


def _refused(pairs: Sequence[Pair], refusals: Sequence[str], *, fits: bool) -> Counter[str]:
    judged = zip(pairs, refusals, strict=True)
    return Counter(refusal for pair, refusal in judged if refusal and pair.fits is fits)


def _bootstrap(scores: Numbers, rights: Numbers, prior: Curve) -> list[Curve]:
    draw = np.random.default_rng(1)
    picks = (draw.integers(len(scores), size=len(scores)) for _ in range(_DRAWS if len(scores) else 0))
    return [fit(scores[pick], rights[pick], prior) for pick in picks]


def _row(target: Target, scores: Numbers, rights: Numbers, pairs: int, curves: Sequence[Curve]) -> Row:
    found = [lowest_threshold(curve, scores, pairs, target, _Z_ONE_SIDED) for curve in curves]
    threshold, curve = found[0], curves[0]
    drawn = sorted(1.0 if one.is_closed else curve.probability(one.score) for one in found[1:]) or [1.0]
    low, high = (drawn[round(share * (len(drawn) - 1))] for share in (0.05, 0.95))
    is_served = scores >= threshold.score
    served, wrong = int(is_served.sum()), int((1 - rights[is_served]).sum())
    return Row(
        target.error,
        replace(threshold, hit_rate=served / pairs),
        math.nan if threshold.is_closed else curve.probability(threshold.score),
        (low, high),
        served,
        wrong,
        wilson(served, pairs),
        wilson(wrong, served),
    )


def wilson(count: int, of: int) -> Interval:
    """Return the interval of a share that was counted; of nothing, anything is possible."""
    if of == 0:
        return 0.0, 1.0
    share, z = count / of, _Z_TWO_SIDED
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    whole = 1 + z * z / of
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)
