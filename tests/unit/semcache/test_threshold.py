from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache.logistic import Curve, probabilities
from semcache.threshold import LABELS_MIN, REQUESTS_MIN, Basis, Labels, Target, lowest_threshold

CURVE = Curve(pivot=0.0, intercept=1.0, slope=1.0, variance_intercept=0.04, variance_slope=0.01)
SURE = Curve(pivot=0.0, intercept=1.0, slope=1.0, variance_intercept=0.0, variance_slope=0.0)
SCORES = np.linspace(-3, 7, 1_000)


@pytest.mark.parametrize(("basis", "share"), [(Basis.HITS, 1_000), (Basis.REQUESTS, 2_000)])
def test_a_sure_curve_serves_as_far_as_the_target_reaches(basis: Basis, share: int) -> None:
    found = lowest_threshold(SURE, SCORES, 2_000, Target(0.05, basis), 1.28)
    served = SCORES[found.score <= SCORES]
    wrong = (1 - probabilities(SURE, served)).sum()
    next_wrong = wrong + 1 - SURE.probability(SCORES[len(SCORES) - len(served) - 1])
    of, of_next = (len(served), len(served) + 1) if basis is Basis.HITS else (share, share)

    assert wrong / of <= 0.05 < next_wrong / of_next
    assert found.error == pytest.approx(wrong / of)
    assert found.hit_rate == pytest.approx(len(served) / 2_000)


def test_doubt_raises_the_threshold() -> None:
    sure, doubted = (lowest_threshold(curve, SCORES, 1_000, Target(0.05), 1.28) for curve in (SURE, CURVE))

    assert doubted.score > sure.score
    assert doubted.error < doubted.error_upper <= 0.05


def test_before_requests_are_seen_every_hit_keeps_the_target_by_itself() -> None:
    found = lowest_threshold(SURE, np.array([]), REQUESTS_MIN - 1, Target(0.05), 1.28)

    assert 0.95 <= SURE.probability(found.score) < 0.951


def test_nothing_that_keeps_the_target_is_closed() -> None:
    assert lowest_threshold(CURVE, np.full(500, -3.0), 500, Target(0.05), 1.28).is_closed
    assert lowest_threshold(Curve(0.0, 0.0, 0.0, 1.0, 1.0), np.array([]), 0, Target(0.05), 1.28).is_closed
    assert lowest_threshold(CURVE, np.array([]), 500, Target(0.05), 1.28).is_closed


def test_equal_scores_are_served_together_or_not_at_all() -> None:
    scores = np.concatenate([np.full(10, 6.0), np.full(500, 1.5)])

    found = lowest_threshold(SURE, scores, 1_000, Target(0.05), 0.0)

    assert found.score == 6.0


@given(st.lists(st.floats(-5, 8), min_size=1, max_size=50), st.floats(0.01, 0.3), st.floats(0.01, 0.3))
def test_a_stricter_target_never_serves_more(scores: list[float], one: float, other: float) -> None:
    strict, loose = (
        lowest_threshold(CURVE, np.array(scores), 300, Target(error), 1.28) for error in sorted((one, other))
    )

    assert strict.score >= loose.score


def test_labels_above_a_threshold_must_keep_the_target_themselves() -> None:
    # The curve says .99 and more; of the labels from 4.5 upwards one in ten is wrong, from 6 upwards none.
    judged = np.concatenate([np.linspace(6, 7, 100), np.linspace(4.5, 5.9, 100)])
    rights = np.concatenate([np.ones(100), np.tile([1.0] * 4 + [0.0], 20)])
    found = lowest_threshold(SURE, SCORES, 1_000, Target(0.05), 0.0, Labels(judged, rights))
    share = 1 - rights[judged >= found.score].mean()

    assert 0.0 < share <= 0.05
    assert found.score > lowest_threshold(SURE, SCORES, 1_000, Target(0.05), 0.0).score


def test_a_few_labels_above_a_threshold_say_nothing() -> None:
    few = Labels(np.linspace(6, 7, LABELS_MIN - 1), np.zeros(LABELS_MIN - 1))

    assert lowest_threshold(SURE, SCORES, 1_000, Target(0.05), 0.0, few) == lowest_threshold(
        SURE, SCORES, 1_000, Target(0.05), 0.0
    )


@pytest.mark.parametrize("error", [0.0, 1.0, -0.1, float("nan")])
def test_a_target_is_a_share(error: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Target(error)
