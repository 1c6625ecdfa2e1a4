"""The gate of a namespace: from labelled feedback to "this score may be served".

    decide(score) ──▶ the last R requests ─┐
                                           ├─ every few of either ──▶ curve ──▶ threshold, or closed
    learn(score, is_right) ──▶ last W labels

1. The cache calls `decide` once for every request that gets as far as the semantic step, with the score of the nearest
   candidate, or None where there is none or a guard refuses it. It calls `learn` for every label of a candidate, with
   the name of the lookup that it is of.
2. Labels should be a random few percent of candidates, served or not. Complaints about served hits alone are taken
   too, and make the gate stricter than it need be.
3. The curve starts from the shipped prior and moves with the last W labels; older ones are forgotten, so the gate
   follows the traffic. Confidence is the curve's probability.
4. The threshold is the lowest that keeps the target at an upper bound (`threshold.py`). None: closed.
5. It closes, too, where the labels at or above the threshold contradict it: so many wrong ones that chance would
   show them less than once in a thousand times if the target held. It opens when newer labels say otherwise.
6. A shadow target is measured on the same traffic and never served.
7. All that it knows is its `evidence.py`; `absorb` joins that with what another replica knows, or this one before a
   restart. Gates with the same evidence decide the same: one that closes itself closes wherever its labels arrive. A
   state of another scale (verifier, model) is refused: its scores mean something else.

Everything is bounded by `GateSettings`: W labels and R scores of some 60 bytes each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semcache.evidence import Evidence, Label
from semcache.logistic import Curve, fit
from semcache.threshold import CLOSED, Basis, Labels, Target, Threshold, lowest_threshold

STATE_VERSION = 2
_CONTRADICTION = 0.001


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Bounds and pace of a gate."""

    target: Target
    shadow: Target | None = None
    """A candidate setting, measured beside."""
    labels_min: int = 0
    """Labels of its own without which nothing is served; 0: the shipped calibration may serve."""
    labels_max: int = 800
    """W, the labels that count."""
    requests_max: int = 2_000
    """R, the requests whose scores count."""
    refit_labels: int = 20
    refit_requests: int = 500
    bound_z: float = 1.2816
    """One-sided 90 %."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says of one score."""

    confidence: float
    """Probability that the answer fits."""
    is_served: bool
    is_closed: bool = False
    """No score would be served now."""
    is_shadow_served: bool = False
    """The shadow target would have served it."""


@dataclass(frozen=True, slots=True)
class Report:
    """How one target of a gate stands."""

    threshold: Threshold
    labels: int
    """Labels of candidates that the threshold serves."""
    wrong: int
    """Of these, how many were wrong."""


class Gate:
    """Turns scores into decisions; not for several threads."""

    def __init__(self, settings: GateSettings, prior: Curve, scale: str, origin: int = 0) -> None:
        """Begin with the shipped `prior`; replicas of one `scale` differ in `origin`."""
        self.settings = settings
        self.scale = scale
        self._prior = prior
        self._evidence = Evidence(settings.labels_max, settings.requests_max, origin)
        self._new_labels = self._new_requests = 0
        self._refit()

    def decide(self, score: float | None, now: float) -> Decision:
        """Note a request of a Unix time, and say whether the score of its candidate is served."""
        self._evidence.note(score, now)
        self._count(0, 1)
        return self.peek(score)

    def peek(self, score: float | None) -> Decision:
        """Say whether a score is served, of what is no request: a fetch under way, say."""
        if score is None:
            return Decision(0.0, is_served=False, is_closed=self._live.is_closed)
        return Decision(
            self._curve.probability(score),
            is_served=score >= self._live.score,
            is_closed=self._live.is_closed,
            is_shadow_served=score >= self._shadow.score,
        )

    def learn(self, lookup: str, label: Label) -> None:
        """Take a label of a lookup's candidate that no guard refused."""
        self._evidence.learn(lookup, label)
        self._count(1, 0)

    def knows(self, lookup: str) -> bool:
        """Return whether a lookup was learned from, here or elsewhere, as far as it is remembered."""
        return self._evidence.knows(lookup)

    def report(self) -> Report:
        """Return how the target stands."""
        return self._report(self._live)

    def shadow_report(self) -> Report | None:
        """Return how the shadow target would stand."""
        return self._report(self._shadow) if self.settings.shadow else None

    @property
    def labels(self) -> Sequence[Label]:
        """Return the labels that count, the oldest first."""
        return self._evidence.labels

    @property
    def version(self) -> int:
        """Return another number for other evidence."""
        return self._evidence.version

    def state(self) -> dict[str, Any]:
        """Return what `absorb` takes, in JSON's types."""
        return {"version": STATE_VERSION, "scale": self.scale, **self._evidence.state()}

    def absorb(self, state: Mapping[str, Any]) -> bool:
        """Join what another gate knew; return whether it is of this version and scale.

        Raises:
            ValueError: it is no state.
        """
        if state.get("version") != STATE_VERSION or state.get("scale") != self.scale:
            return False
        labels, requests = self._evidence.join(state)
        # At once where there are labels, own ones too: whoever joins the same is to decide the same.
        self._count(self.settings.refit_labels if labels + self._new_labels else 0, requests)
        return True

    def _count(self, labels: int, requests: int) -> None:
        self._new_labels += labels
        self._new_requests += requests
        if self._new_labels >= self.settings.refit_labels or self._new_requests >= self.settings.refit_requests:
            self._refit()

    def _report(self, threshold: Threshold) -> Report:
        served = [label.is_right for label in self.labels if label.score >= threshold.score]
        return Report(threshold, len(served), served.count(False))

    def _refit(self) -> None:
        self._new_labels = self._new_requests = 0
        labels = self.labels
        scores = np.array([label.score for label in labels], np.float64)
        self._judged = Labels(scores, np.array([label.is_right for label in labels], np.float64))
        self._curve = fit(scores, self._judged.rights, self._prior)
        self._live = self._threshold(self.settings.target)
        self._shadow = self._threshold(self.settings.shadow) if self.settings.shadow else CLOSED

    def _threshold(self, target: Target) -> Threshold:
        if len(self._judged.scores) < self.settings.labels_min:
            return CLOSED
        seen = self._evidence.scores
        candidates = seen[np.isfinite(seen)]
        found = lowest_threshold(self._curve, candidates, len(seen), target, self.settings.bound_z, self._judged)
        return CLOSED if self._is_contradicted(found, target) else found

    def _is_contradicted(self, threshold: Threshold, target: Target) -> bool:
        report = self._report(threshold)
        allowed = target.error
        if target.basis is Basis.REQUESTS and threshold.hit_rate > 0:
            allowed = min(1.0, target.error / threshold.hit_rate)
        return binomial_tail(report.labels, report.wrong, allowed) < _CONTRADICTION


def binomial_tail(trials: int, least: int, probability: float) -> float:
    """Return how probable `least` or more of `trials` are."""
    if least <= 0 or probability >= 1.0:
        return 1.0
    log_yes, log_no = math.log(probability), math.log1p(-probability)
    terms = (
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * log_yes + (trials - k) * log_no
        for k in range(least, trials + 1)
    )
    return min(1.0, math.fsum(map(math.exp, terms)))
