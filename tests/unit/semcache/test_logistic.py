from __future__ import annotations

import numpy as np
import pytest

from semcache.logistic import Curve, fit, probabilities

PRIOR = Curve(pivot=1.0, intercept=0.5, slope=1.0, variance_intercept=1.0, variance_slope=0.25)


def test_without_labels_the_curve_is_the_prior() -> None:
    assert fit(np.array([]), np.array([]), PRIOR) == PRIOR


def test_many_labels_outweigh_the_prior() -> None:
    truth = Curve(1.0, -1.0, 2.0, 0.0, 0.0)
    scores = np.linspace(-4, 6, 20_001)
    found = fit(scores, probabilities(truth, scores), PRIOR)

    assert (found.intercept, found.slope) == pytest.approx((-1.0, 2.0), abs=0.02)
    assert found.variance_intercept < 0.01


def test_labels_narrow_the_curve() -> None:
    few, many = (fit(np.zeros(count), np.tile([0.0, 1.0], count // 2), PRIOR) for count in (10, 100))

    assert many.variance_intercept < few.variance_intercept < PRIOR.variance_intercept


def test_a_slope_never_falls_below_zero() -> None:
    scores = np.linspace(-3, 3, 200)
    found = fit(scores, (scores < 0).astype(float), PRIOR)

    assert found.slope == 0.0


def test_labels_of_one_kind_stay_finite() -> None:
    found = fit(np.full(10_000, 50.0), np.ones(10_000), PRIOR)

    assert np.isfinite([found.intercept, found.slope, found.variance_intercept]).all()
    assert found.probability(50.0) > 0.99


@pytest.mark.parametrize("score", [-1e6, 1e6])
def test_a_far_score_has_a_probability(score: float) -> None:
    assert 0.0 <= PRIOR.probability(score) <= 1.0


def test_a_fit_that_does_not_come_to_rest_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semcache.logistic._STEPS_MAX", 1)
    found = fit(np.array([2.0, 3.0]), np.array([0.0, 1.0]), PRIOR)

    assert np.isfinite([found.intercept, found.slope]).all()
