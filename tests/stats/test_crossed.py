"""Statistics over seeds and images, against hand counts, weights that really are changed, and the bootstrap of both."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcompass.stats.crossed import Crossed, Grid, decomposed

GENERATOR = np.random.default_rng(0)
IMAGES = np.repeat(np.arange(30), [1, 2, 4] * 10)
HARDNESS = GENERATOR.normal(0, 20, 30)[IMAGES]


def scores(mean: float, seeds: int = 3, luck: float = 2.0, seed: int = 0) -> np.ndarray:
    """[S, n] around a mean."""
    generator = np.random.default_rng(seed)
    return mean + HARDNESS + generator.normal(0, luck, (seeds, 1)) + generator.normal(0, 8, (seeds, len(IMAGES)))


def test_variance_by_hand() -> None:
    # Rows are seeds: means 2 and 8, images' means 3 and 7, mean 5; influence = (score - 5) / 2.
    # Seeds: totals -3 and 3 have variance 18, over 2 seeds 9. Images: means -1 and 1 have variance 2, times 2 images 4.
    # Interaction: residuals of 1, halved, squared and added = 1, over 1 degree of freedom, times I / S = 1: 1, taken off the images.
    variance = Grid(["a", "b"]).mean(np.array([[1.0, 3.0], [5.0, 11.0]]), "runs").variance()
    assert (variance.seeds, variance.images, variance.seeds_df) == (pytest.approx(9), pytest.approx(3), pytest.approx(1))
    assert variance.images_df == 1, "Satterthwaite's 3^2 / (4^2 / 1 + 1^2 / 1) is less than 1"


def test_images_that_carry_a_statistic_count_as_what_they_are() -> None:
    # 40 images of effects 1 and -1 say their variance best: I - 1.
    even = np.tile([[1.0, -1.0] * 20], (2, 1))
    assert decomposed([even]).images_df == pytest.approx(39)
    heavy = np.tile([[1.0, -1.0] * 20 + [9.0, -9.0]], (2, 1))  # squares 40 + 162, fourth powers 40 + 2 * 6561
    assert decomposed([heavy]).images_df == pytest.approx(2 * 202**2 / (13162 - 202**2 / 42))


def test_ratios_are_of_sums_over_expressions() -> None:
    grid = Grid(["b", "a", "b"])
    assert grid.sums(np.array([[1.0, 2.0, 4.0]])).tolist() == [[2.0, 5.0]]
    found = grid.ratio(np.array([[1.0, 2, 4], [3, 2, 0]]), np.array([[2.0, 4, 4], [2, 4, 4]]), "runs")
    assert found.value == pytest.approx(12 / 20)
    known = grid.mean(np.array([[1.0, np.nan, 4.0], [2.0, 3.0, 1.0]]), "runs")
    assert known.value == pytest.approx(11 / 5), "what is not known does not count"


def composed(grid: Grid, weight: np.ndarray) -> Crossed:
    """(a - b) / (c - b) where an expression counts `weight` times."""
    a, b, c = (
        grid.ratio(scores(mean, seed=seed) * weight, np.tile(weight, (3, 1)), "runs") for seed, mean in enumerate((54.0, 50.0, 60.0))
    )
    return (a - b) / (c - b)


def test_influence_is_what_an_images_weight_changes() -> None:
    grid, step = Grid(IMAGES), 1e-6
    found = composed(grid, np.ones(len(IMAGES)))
    for image in (0, 7, 29):
        moved = composed(grid, np.where(image == IMAGES, 1 + step, 1.0)).value - found.value
        assert found.influence["runs"].mean(0)[image] == pytest.approx(moved / step, rel=1e-3)


def test_differences_are_paired_by_seed_under_one_key_alone() -> None:
    grid, base = Grid(IMAGES), scores(50.0)
    a, b = grid.mean(base + 1, "runs"), grid.mean(base, "runs")
    same = (a - b).estimate(0.95)
    assert (same.value, same.low, same.high) == (pytest.approx(1), pytest.approx(1), pytest.approx(1))
    assert same.p < 1e-6 and (b - b).estimate(0.95).p == 1
    apart = (a - grid.mean(base, "others")).variance()
    assert apart.images == pytest.approx(0), "the images are still the same"
    assert apart.seeds == pytest.approx(2 * a.variance().seeds) and apart.seeds_df == pytest.approx(4)


@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_an_interval_excludes_zero_where_its_test_rejects(seed: int, level: float) -> None:
    found = Grid(IMAGES).mean(scores(4.0, seed=seed) - HARDNESS / 2, "runs").estimate(level)
    assert found.low < found.value < found.high
    assert (found.p < 1 - level) == (found.low > 0 or found.high < 0)


def test_a_share_of_a_gap_has_fiellers_set() -> None:
    grid = Grid(IMAGES)
    policy, warmed, gold = (grid.mean(scores(mean, seed=seed), "runs") for seed, mean in ((1, 54.0), (2, 46.0), (3, 62.0)))
    part, whole = policy - warmed, gold - warmed
    share = part.share(whole, 0.95)
    assert share.value == pytest.approx(part.value / whole.value) and share.low < share.value < share.high
    for end in (share.low, share.high):
        assert (part - whole * end).estimate(0.95).p == pytest.approx(0.05, abs=1e-6)
    assert (share.low > 0) == (part.estimate(0.95).p < 0.05)
    nothing = part.share(warmed - grid.mean(scores(46.0, seed=4), "runs"), 0.95)
    assert (nothing.low, nothing.high) == (-math.inf, math.inf), "a gap that is not told from 0 bounds nothing"


def test_what_cannot_be_paired_is_refused() -> None:
    grid = Grid(IMAGES)
    with pytest.raises(ValueError, match="the seeds `runs` have 3 and 1 of them"):
        grid.mean(scores(50.0), "runs") - grid.mean(scores(50.0)[:1], "runs")
    with pytest.raises(ValueError, match="of 20 and 30 images"):
        grid.mean(scores(50.0), "runs") - Grid(IMAGES % 20).mean(scores(50.0), "others")


def test_these_very_runs_vary_by_their_images_alone() -> None:
    mean = Grid(IMAGES).mean(scores(50.0, luck=30.0), "runs")
    fixed, drawn = mean.of_these_runs().estimate(0.95), mean.estimate(0.95)
    assert fixed.value == drawn.value and fixed.high - fixed.low < (drawn.high - drawn.low) / 3
    single = Grid(IMAGES).mean(scores(50.0)[:1], "runs").of_these_runs().estimate(0.95)
    assert single.low < single.value < single.high


def test_one_seed_or_no_expression_has_no_interval() -> None:
    alone = Grid(IMAGES).mean(scores(50.0)[:1], "runs").estimate(0.95)
    assert alone.seeds == 1 and alone.images == 30 and alone.samples == len(IMAGES)
    assert alone.value > 0 and np.isnan([alone.low, alone.high, alone.p]).all()
    nothing = Grid(IMAGES).ratio(scores(50.0), np.zeros((3, len(IMAGES))), "runs").estimate(0.95)
    assert nothing.samples == 0 and np.isnan([nothing.value, nothing.low, nothing.p]).all()
