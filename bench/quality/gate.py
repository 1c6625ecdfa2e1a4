"""The rolling gate on the stream: what a namespace would have served, learning as it goes from a few labels.

Insert on miss. A random share of candidates is labelled, served or not, by the strict reading. The first quarter of the
stream teaches; the rest is judged. The gate starts from a curve that knows nothing of these pairs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from bench.quality.boosting import Matrix
from bench.quality.protocol import Stream
from bench.quality.sheet import Sheet
from semcache.calibration import Gate, GateSettings
from semcache.evidence import Label
from semcache.judging import SIMILARITY_MIN
from semcache.logistic import Curve
from semcache.threshold import Target

TAUGHT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Rolled:
    """What one run came to, in the part that is judged."""

    requests: int
    hits: int
    wrong: int
    labels: int

    @property
    def hit_rate(self) -> float:
        """Return hits per request."""
        return self.hits / self.requests

    @property
    def error(self) -> float:
        """Return wrong hits per request."""
        return self.wrong / self.requests

    @property
    def precision(self) -> float:
        """Return the share of hits that are right."""
        return 1 - self.wrong / self.hits if self.hits else 1.0


def vague(scores: Matrix) -> Curve:
    """Return a curve about the middle of these scores that says little: a unit is worth anything, up to a few logits."""
    deviation = float(np.std(scores))
    return Curve(float(np.median(scores)), 1.0, 1.0 / deviation, 4.0, (1.0 / deviation) ** 2)


def roll(stream: Stream, sheet: Sheet, scores: Matrix, target: Target, *, share: float, seed: int) -> Rolled:
    """Run the stream once, with `share` of the candidates labelled; a score of -inf is a veto."""
    draw = random.Random(seed)
    settings = GateSettings(target, labels_min=50)
    gate = Gate(settings, vague(scores[np.isfinite(scores)]), "bench")
    similarities, levels, is_same = sheet.rows[:, 0].tolist(), scores.tolist(), sheet.is_same.tolist()
    judged_from = int(TAUGHT_SHARE * len(stream.order))
    vetoed = np.isneginf(scores).tolist()
    inserted = [False] * len(stream.order)
    hits = wrong = labels = 0
    for place, request in enumerate(stream.order):
        nearest = stream.nearest(request, inserted, vetoed)
        if nearest is None or similarities[nearest] < SIMILARITY_MIN:
            gate.decide(None, float(place))
            inserted[request] = True
            continue
        is_hit = gate.decide(levels[nearest], float(place)).is_served
        inserted[request] = not is_hit
        if place >= judged_from:
            hits += is_hit
            wrong += is_hit and not is_same[nearest]
        if draw.random() < share:
            labels += 1
            gate.learn(str(place), Label(float(place), levels[nearest], is_same[nearest]))
    return Rolled(len(stream.order) - judged_from, hits, wrong, labels)
