"""The bootstrap over images, against theory and hand counts."""

import numpy as np
import pytest

from segcompass.stats.bootstrap import ratio_interval


def test_interval_of_a_mean_agrees_with_theory() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(3, 2, 400)
    low, high = ratio_interval(values, np.ones(400), np.arange(400), 2000, 0.95, 0)
    # Standard error 2 / sqrt(400) = 0.1, so about 3 +- 0.196.
    assert (low, high) == pytest.approx((values.mean() - 0.196, values.mean() + 0.196), abs=0.03)


def test_clusters_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=40), 10)
    alone = ratio_interval(values, np.ones(400), np.arange(400), 1000, 0.95, 0)
    clustered = ratio_interval(values, np.ones(400), np.repeat(np.arange(40), 10), 1000, 0.95, 0)
    assert np.ptp(clustered) > 2 * np.ptp(alone)  # sqrt(10) in theory


def test_a_ratio_of_sums_is_resampled_as_such() -> None:
    # One cluster: every draw is the whole, so the interval is the point 3 / 6.
    assert ratio_interval(np.array([1.0, 2.0]), np.array([2.0, 4.0]), ["a", "a"], 100, 0.95, 0) == (0.5, 0.5)
    assert np.isnan(ratio_interval(np.zeros(2), np.zeros(2), [0, 1], 100, 0.95, 0)).all()
