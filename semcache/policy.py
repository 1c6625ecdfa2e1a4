"""From what is known of the nearest entry to hit or miss, with the step that decided.

    prompt ─▶ exact only? ─▶ near enough? ─▶ guard? ─▶ gate ─▶ the caller's minimum ─▶ explore? ─▶ HIT

1. The first step that objects decides, and is named in the answer and in metrics.
2. A namespace serves by target error (the gate) or by a fixed threshold of similarity; guards hold in both.
3. A caller may ask for more confidence than the namespace does, never for less.
4. `explore` turns a random few would-be hits into misses, so that a fresh answer shows whether the kept one fits.
   The draw is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from semcache.calibration import Decision
from semcache.verifier.verdict import Verdict


class Step(Enum):
    """What decided."""

    EXACT = "exact"
    """Hit: the same prompt in the same scope."""
    SEMANTIC = "semantic"
    """Hit: all steps agreed."""
    EXACT_ONLY = "exact_only"
    """Miss: this namespace, or a turn that only means something in its place ("continue"), is served exactly or not."""
    NOTHING_NEAR = "nothing_near"
    """Miss: no entry in this scope is near."""
    GUARD = "guard"
    """Miss: a guard refused the nearest."""
    THRESHOLD = "threshold"
    """Miss: less similar than the namespace's fixed threshold."""
    CLOSED = "gate_closed"
    """Miss: the target error cannot be kept at any score now."""
    CONFIDENCE = "confidence"
    """Miss: the gate does not serve this score."""
    CALLER = "caller_minimum"
    """Miss: less confidence than the caller asked for."""
    EXPLORE = "explore"
    """Miss, to learn: it would have been a hit."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a namespace asks of a semantic hit."""

    is_exact_only: bool = False
    has_guards: bool = True
    similarity_min: float = 0.7
    """Candidates below it are not looked at."""
    threshold: float | None = None
    """Least similarity that counts as a hit; None: the gate's target error decides."""
    explore_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest entry, judged."""

    similarity: float
    verdict: Verdict
    decision: Decision


@dataclass(frozen=True, slots=True)
class Ruling:
    """Hit or miss, and why."""

    is_hit: bool
    step: Step
    confidence: float = 0.0
    is_shadow_hit: bool = False
    """The shadow target would have served it."""


def rule(policy: Policy, match: Match | None, *, is_deictic: bool, confidence_min: float, draw: float) -> Ruling:
    """Decide a request that no entry answers exactly.

    Args:
        policy: of the namespace.
        match: the nearest entry; None if there is none.
        is_deictic: whether the prompt means something only in its place (`semcache.deixis`).
        confidence_min: what the caller asks for; 0: nothing beyond the namespace's.
        draw: uniform in [0, 1), for exploring.
    """
    if policy.is_exact_only or is_deictic:
        return Ruling(False, Step.EXACT_ONLY)
    if match is None or match.similarity < policy.similarity_min:
        return Ruling(False, Step.NOTHING_NEAR)
    objection = _objection(policy, match, confidence_min)
    if objection is None and draw < policy.explore_share:
        objection = Step.EXPLORE
    is_shadow_hit = match.decision.is_shadow_served and objection is not Step.GUARD
    return Ruling(objection is None, objection or Step.SEMANTIC, match.decision.confidence, is_shadow_hit)


def _objection(policy: Policy, match: Match, confidence_min: float) -> Step | None:
    if policy.has_guards and match.verdict.guard is not None:
        return Step.GUARD
    if policy.threshold is not None:
        if match.similarity < policy.threshold:
            return Step.THRESHOLD
    elif match.decision.is_closed:
        return Step.CLOSED
    elif not match.decision.is_served:
        return Step.CONFIDENCE
    return Step.CALLER if match.decision.confidence < confidence_min else None
