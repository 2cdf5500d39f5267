"""Correlation: coefficients as SciPy's, influence as what an added copy really changes, intervals that cover, confounders held fixed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from segcompass.stats.correlation import COEFFICIENTS, Remainders, correlation, remainders


def run(coefficient: str, seed: int, slope: float = 0.5, images: int = 60, same: float = 0.5) -> Remainders:
    """One run on images of 1 to 4 expressions that share `same` of their values; y takes ties."""
    generator = np.random.default_rng(seed)
    index = clusters(images)
    x, y = (same * generator.normal(size=images)[index] + generator.normal(size=len(index)) for _ in range(2))
    given = generator.normal(size=(len(index), 2)) + 0.5 * x[:, None]
    return remainders(coefficient, x, np.round(2 * (y + slope * x)), given)


def clusters(images: int = 60) -> np.ndarray:
    return np.repeat(np.arange(images), np.arange(images) % 4 + 1)


@given(st.integers(0, 10_000))
def test_coefficients_are_those_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y, z = generator.normal(size=30), generator.integers(0, 5, 30).astype(float), generator.normal(size=30)
    assert remainders("pearson", x, y, z[:, None]).value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert remainders("spearman", x, y, z[:, None]).value == pytest.approx(stats.spearmanr(x, y).statistic)
    xy, xz, yz = (stats.spearmanr(a, b).statistic for a, b in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert remainders("partial", x, y, z[:, None]).value == pytest.approx(expected)
    twice = remainders("partial", x, y, np.stack([z, 2 * z, np.ones(30)], 1))
    assert twice.value == pytest.approx(expected) and twice.confounders.shape == (30, 1), "what says nothing new is left out"


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_influence_is_what_an_added_copy_changes(coefficient: str) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=25), generator.integers(0, 6, 25).astype(float)
    confounder = (0.5 * x + generator.normal(size=25))[:, None]
    found, copies = remainders(coefficient, x, y, confounder), 2000
    for row in (0, 7, 24):
        more = np.append(np.tile(np.arange(25), copies), row)
        changed = remainders(coefficient, x[more], y[more], confounder[more]).value - found.value
        assert copies * changed == pytest.approx(found.influence[row], abs=2e-3)


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_intervals_cover_the_truth(coefficient: str) -> None:
    studies, error = 200, 3.5 * math.sqrt(0.05 * 0.95 / 200)
    truth = np.mean([run(coefficient, 10**6 + seed, images=2000).value for seed in range(20)])
    covered = {1: 0, 3: 0}
    for study in range(studies):
        runs = [run(coefficient, 3 * study + part) for part in range(3)]
        for count in covered:
            found = correlation(runs[:count], clusters(), 0.95)
            covered[count] += found.low <= truth <= found.high
    assert covered[1] / studies > 0.95 - error and covered[3] / studies > 0.95 - error


def test_pooled_is_the_mean_of_the_runs_and_knows_its_seeds() -> None:
    runs = [run("spearman", seed) for seed in range(3)]
    found = correlation(runs, clusters(), 0.95)
    assert found.value == pytest.approx(np.mean([one.value for one in runs]))
    assert (found.seeds, found.images, found.samples) == (3, 60, len(clusters()))
    alone = correlation(runs[:1], clusters(), 0.95)
    assert alone.seeds == 1 and -1 < alone.low < alone.value < alone.high < 1


def test_images_that_belong_together_widen_the_interval() -> None:
    dependent, index = run("spearman", 0, 0.0, same=3.0), clusters()
    together = correlation([dependent], index, 0.95)
    apart = correlation([dependent], np.arange(len(index)), 0.95)
    assert together.high - together.low > 1.2 * (apart.high - apart.low)


def test_a_confounder_is_held_fixed() -> None:
    generator = np.random.default_rng(0)
    size = generator.normal(size=2000)
    x, y = size + generator.normal(0, 0.5, 2000), size + generator.normal(0, 0.5, 2000)
    assert remainders("spearman", x, y, size[:, None]).value > 0.7
    # Ranks of a normal are no linear image of it, so not exactly 0.
    assert abs(remainders("partial", x, y, size[:, None]).value) < 0.08


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_what_does_not_vary_has_no_correlation_and_what_is_perfect_no_doubt(coefficient: str) -> None:
    flat, other, given = np.zeros(20), np.arange(20.0), np.arange(20.0)[:, None] % 3
    nothing = correlation([remainders(coefficient, flat, other, given)], np.arange(20), 0.95)
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()
    gap = correlation([remainders(coefficient, np.append(np.nan, other[1:]), other, given)], np.arange(20), 0.95)
    assert np.isnan([gap.value, gap.low, gap.high]).all(), "what is not known for an expression is not known for the run"
    perfect = correlation([remainders(coefficient, other, 2 * other, given)], np.arange(20), 0.95)
    assert (perfect.value, perfect.low) == (pytest.approx(1), pytest.approx(1))
