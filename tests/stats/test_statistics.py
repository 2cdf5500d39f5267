"""Bootstrap and correlation: planted effects are found, their null twins are not, confounders are removed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from segcompass.stats.bootstrap import cluster_draws, paired_difference, ratio_interval
from segcompass.stats.correlation import estimates, null_twin, partial_spearman, pearson, spearman


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


def test_paired_difference_finds_a_planted_effect_and_not_its_null_twin() -> None:
    generator = np.random.default_rng(1)
    images, hardness = np.arange(300) // 3, generator.normal(size=300)
    a, b = hardness + 0.1 + generator.normal(0, 0.2, 300), hardness + generator.normal(0, 0.2, 300)
    mean, low, high = paired_difference(a, b, images, 1000, 0.95, 0)
    assert 0 < low < mean < high
    swap = generator.random(300) < 0.5
    _, low, high = paired_difference(np.where(swap, a, b), np.where(swap, b, a), images, 1000, 0.95, 0)
    assert low < 0 < high


def test_draws_take_whole_clusters() -> None:
    clusters = np.array(["b", "a", "b", "c"])
    for rows in cluster_draws(clusters, 20, 0):
        counts = np.bincount(rows, minlength=4)
        assert counts[0] == counts[2] and counts[[0, 1, 3]].sum() == 3


@given(st.integers(0, 10_000))
def test_coefficients_are_those_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=30), generator.integers(0, 5, 30).astype(float)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)


def test_a_confounder_is_held_fixed() -> None:
    generator = np.random.default_rng(0)
    size = generator.normal(size=2000)
    x, y = size + generator.normal(0, 0.5, 2000), size + generator.normal(0, 0.5, 2000)
    assert spearman(x, y) > 0.7
    assert abs(partial_spearman(x, y, size[:, None])) < 0.08  # ranks of a normal are no linear image of it, so not exactly 0


def test_a_planted_correlation_is_found_and_its_null_twin_is_not() -> None:
    generator = np.random.default_rng(2)
    images = np.arange(240) // 4
    x = generator.normal(size=240)
    y = 0.5 * x + generator.normal(size=240)
    found = estimates(x, y, generator.normal(size=(240, 1)), images, 300, 0.95, 0)
    assert all(0 < found[name].low <= found[name].value <= found[name].high for name in ("pearson", "spearman", "partial"))
    null = null_twin(x, y, 200, 0.95, 0)
    assert null.low < 0 < null.high and null.p == pytest.approx(1 / 201)
    twin = estimates(x, generator.permutation(y), generator.normal(size=(240, 1)), images, 300, 0.95, 0)
    assert twin["spearman"].low < 0 < twin["spearman"].high


def test_what_does_not_vary_has_no_correlation() -> None:
    flat, other = np.zeros(20), np.arange(20.0)
    found = estimates(flat, other, other[:, None] % 3, np.arange(20), 100, 0.95, 0)
    assert all(np.isnan(found[name].value) for name in found)
    assert np.isnan(null_twin(flat, other, 20, 0.95, 0).p)
