from __future__ import annotations

import pytest

from semcache.calibration import Decision
from semcache.policy import Match, Policy, Ruling, Step, rule
from semcache.verifier.guards import Guard
from semcache.verifier.verdict import Verdict

SERVED = Decision(0.97, is_served=True, is_shadow_served=True)
DOUBTED = Decision(0.6, is_served=False)
CLOSED = Decision(0.9, is_served=False, is_closed=True)
FITS = Verdict(3.0, None)
REFUSED = Verdict(3.0, Guard.NUMBERS)


def judge(
    match: Match | None,
    policy: Policy | None = None,
    *,
    is_deictic: bool = False,
    least: float = 0.0,
    draw: float = 0.9,
) -> Ruling:
    return rule(policy or Policy(), match, is_deictic=is_deictic, confidence_min=least, draw=draw)


def test_a_hit_needs_every_step_to_agree() -> None:
    assert judge(Match(0.95, FITS, SERVED)) == Ruling(True, Step.SEMANTIC, 0.97, is_shadow_hit=True)


@pytest.mark.parametrize(
    ("match", "policy", "step"),
    [
        (None, Policy(), Step.NOTHING_NEAR),
        (Match(0.69, FITS, SERVED), Policy(), Step.NOTHING_NEAR),
        (Match(0.95, REFUSED, SERVED), Policy(), Step.GUARD),
        (Match(0.95, FITS, DOUBTED), Policy(), Step.CONFIDENCE),
        (Match(0.95, FITS, CLOSED), Policy(), Step.CLOSED),
        (Match(0.95, FITS, SERVED), Policy(is_exact_only=True), Step.EXACT_ONLY),
        (Match(0.95, FITS, SERVED), Policy(threshold=0.96), Step.THRESHOLD),
        (Match(0.95, REFUSED, SERVED), Policy(threshold=0.9), Step.GUARD),
        (Match(0.95, FITS, SERVED), Policy(explore_share=0.95), Step.EXPLORE),
    ],
)
def test_the_first_objection_is_named(match: Match | None, policy: Policy, step: Step) -> None:
    ruling = judge(match, policy)

    assert (ruling.is_hit, ruling.step) == (False, step)


def test_a_fixed_threshold_does_without_the_gate() -> None:
    assert judge(Match(0.95, FITS, CLOSED), Policy(threshold=0.95)).is_hit


def test_guards_can_be_switched_off() -> None:
    assert judge(Match(0.95, REFUSED, SERVED), Policy(has_guards=False)).is_hit


@pytest.mark.parametrize(("least", "step"), [(0.98, Step.CALLER), (0.5, Step.SEMANTIC)])
def test_a_caller_may_ask_for_more_confidence_never_for_less(least: float, step: Step) -> None:
    assert judge(Match(0.95, FITS, SERVED), least=least).step is step
    assert judge(Match(0.95, FITS, DOUBTED), least=least).step is Step.CONFIDENCE


def test_a_deictic_turn_is_exact_only() -> None:
    assert judge(Match(0.99, FITS, SERVED), is_deictic=True).step is Step.EXACT_ONLY


def test_what_a_guard_refuses_is_no_shadow_hit() -> None:
    assert not judge(Match(0.95, REFUSED, SERVED)).is_shadow_hit
