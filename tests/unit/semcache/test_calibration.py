from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcache.calibration import Gate, GateSettings, binomial_tail
from semcache.evidence import Label
from semcache.logistic import Curve
from semcache.threshold import Basis, Target

PRIOR = Curve(pivot=0.0, intercept=2.0, slope=1.0, variance_intercept=0.5, variance_slope=0.06)
SCORES = st.floats(-6, 12, allow_nan=False)


def gate(error: float = 0.05, **options: object) -> Gate:
    return Gate(GateSettings(Target(error), **options), PRIOR, "a")  # type: ignore[arg-type]


def teach(gate: Gate, score: float, right: object, at: float = 0.0) -> None:
    gate.learn(f"{at} {len(gate.labels)}", Label(at, score, bool(right)))


def feed(gate: Gate, count: int, seed: int, *, shift: float = 0.0, start: int = 0) -> None:
    """Give requests and labels whose true log odds are the prior's, moved by `shift`."""
    draw = random.Random(seed)
    for at in range(start, start + count):
        score = draw.gauss(1.5, 2.0)
        gate.decide(score, float(at))
        right = draw.random() < 1 / (1 + math.exp(-(score + 2.0 + shift)))
        teach(gate, score, right, float(at))


def test_without_labels_the_shipped_curve_decides() -> None:
    fresh = gate()

    assert [fresh.decide(score, 0.0).is_served for score in (0.0, 8.0)] == [False, True]


def test_confidence_is_the_probability_of_the_curve() -> None:
    assert gate().decide(0.0, 0.0).confidence == pytest.approx(1 / (1 + math.exp(-2.0)))


def test_a_request_without_a_candidate_is_not_served() -> None:
    decision = gate().decide(None, 0.0)

    assert (decision.is_served, decision.confidence) == (False, 0.0)


@given(st.integers(1, 60), SCORES, st.data())
def test_nothing_is_served_with_fewer_labels_than_asked_for(least: int, score: float, data: st.DataObject) -> None:
    young = gate(labels_min=least, refit_labels=1)
    for _ in range(data.draw(st.integers(0, least - 1))):
        teach(young, data.draw(SCORES), True)

    assert not young.decide(score, 0.0).is_served


@given(st.lists(st.tuples(SCORES, st.booleans()), max_size=80), SCORES, SCORES)
def test_a_higher_score_is_never_treated_worse(labels: list[tuple[float, bool]], one: float, other: float) -> None:
    taught = gate(0.2, refit_labels=1)
    for score, is_right in labels:
        teach(taught, score, is_right)
    low, high = taught.decide(min(one, other), 0.0), taught.decide(max(one, other), 0.0)

    assert (low.is_served, low.confidence) <= (high.is_served, high.confidence)


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 1_000))
def test_bad_labels_close_it_and_good_ones_open_it_again(seed: int) -> None:
    tried = gate(labels_max=200)
    feed(tried, 400, seed, shift=-8.0)
    after_bad = tried.decide(8.0, 0.0)
    feed(tried, 400, seed, shift=3.0, start=400)
    after_good = tried.decide(8.0, 0.0)

    assert (after_bad.is_served, after_good.is_served) == (False, True)


def test_labels_that_contradict_the_curve_close_it() -> None:
    tried = gate(refit_labels=1, labels_max=400)
    feed(tried, 300, 1)
    for at in range(60):
        teach(tried, 9.0, at % 2 == 0, 300.0 + at)

    assert tried.decide(12.0, 0.0).is_closed


@pytest.mark.parametrize("basis", list(Basis))
def test_what_is_served_keeps_the_target_in_the_mean(basis: Basis) -> None:
    served = wrong = requests = 0
    for seed in range(3):
        tried = Gate(GateSettings(Target(0.04, basis)), PRIOR, "a")
        draw = random.Random(seed)
        for at in range(2_500):
            score = draw.gauss(1.5, 2.0)
            is_right = draw.random() < 1 / (1 + math.exp(-(score * 0.8 + 1.5)))
            if at > 500:
                requests += 1
                if tried.decide(score, 0.0).is_served:
                    served, wrong = served + 1, wrong + (not is_right)
            else:
                tried.decide(score, 0.0)
            if draw.random() < 0.2:
                teach(tried, score, is_right, float(at))

    assert wrong / (served if basis is Basis.HITS else requests) <= 0.04
    assert served > 0.1 * requests


def test_a_shadow_target_is_measured_and_never_served() -> None:
    tried = gate(0.01, shadow=Target(0.3))
    feed(tried, 600, 3)
    decision = tried.decide(0.5, 0.0)
    shadow = tried.shadow_report()

    assert (decision.is_served, decision.is_shadow_served) == (False, True)
    assert shadow is not None
    assert shadow.labels > tried.report().labels


def test_a_state_is_json_and_continues_where_it_stood() -> None:
    first, second = gate(), gate()
    feed(first, 500, 5)
    kept = json.loads(json.dumps(first.state()))

    assert second.absorb(kept)
    assert second.state() == first.state()
    # `first` fitted some labels ago, `second` on all of them.
    first.absorb(second.state())
    assert second.report() == first.report()


def test_a_state_of_another_scale_is_refused() -> None:
    other = Gate(GateSettings(Target(0.05)), PRIOR, "b")
    feed(other, 50, 5)
    tried = gate()

    assert not tried.absorb(other.state())
    assert not tried.labels


def test_requests_of_another_replica_move_the_threshold_at_the_pace_of_own_ones() -> None:
    busy, idle = Gate(GateSettings(Target(0.05)), PRIOR, "a", origin=1), gate()
    for at in range(600):
        busy.decide(8.0, float(at))
    before = idle.report()

    idle.absorb(busy.state())

    assert (before.threshold.hit_rate, idle.report().threshold.hit_rate) == (0.0, 1.0)


def test_labels_and_requests_are_bounded() -> None:
    tried = gate(labels_max=10, requests_max=20)
    feed(tried, 100, 1)
    state = tried.state()

    assert (len(state["labels"]), len(state["requests"])) == (10, 20)


@pytest.mark.parametrize(
    ("trials", "least", "probability", "expected"),
    [(10, 0, 0.5, 1.0), (10, 10, 0.5, 0.5**10), (2, 1, 0.1, 0.19), (5, 3, 1.0, 1.0), (0, 1, 0.5, 0.0)],
)
def test_a_binomial_tail_is_exact(trials: int, least: int, probability: float, expected: float) -> None:
    assert binomial_tail(trials, least, probability) == pytest.approx(expected)
