"""Statistics with their draws, against hand counts, SciPy, and the same statistic of images that really are repeated."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from segcompass.stats.draws import ClusterDraws, Measured, mean_of, pair_wins

GENERATOR = np.random.default_rng(0)
IMAGE = np.repeat(np.arange(6), 20)
SCORES = GENERATOR.integers(0, 4, 120) * 1.0  # many ties
POSITIVE = GENERATOR.random(120) < 0.3 + 0.1 * SCORES
DRAWS = ClusterDraws(6, 300, 0)


def repeated(multiplicity: np.ndarray) -> np.ndarray:
    """Row numbers of a draw's images."""
    return np.concatenate([np.flatnonzero(image == IMAGE) for image in np.repeat(np.arange(6), multiplicity.astype(int))])


def test_pairs_by_hand() -> None:
    # Image 0: positive 2; image 1: positive 1, negatives 1 and 3. The 2 beats the 1 alone; the 1 ties with the 1.
    wins = pair_wins(np.array([2.0, 1, 1, 3]), np.array([True, True, False, False]), np.array([0, 1, 1, 1]), 2)
    assert wins.tolist() == [[0, 1], [0, 0.5]]


def test_auroc_is_mann_whitney_and_each_draw_that_of_its_images() -> None:
    found = DRAWS.auroc(SCORES, POSITIVE, IMAGE)
    pairs = POSITIVE.sum() * (~POSITIVE).sum()
    assert found.value == pytest.approx(mannwhitneyu(SCORES[POSITIVE], SCORES[~POSITIVE]).statistic / pairs)
    for draw in (0, 7, 299):
        rows = repeated(DRAWS.multiplicity[draw])
        scores, positive = SCORES[rows], POSITIVE[rows]
        expected = mannwhitneyu(scores[positive], scores[~positive]).statistic / (positive.sum() * (~positive).sum())
        assert found.draws[draw] == pytest.approx(expected)


def test_a_ratio_of_sums_and_its_draws() -> None:
    found = DRAWS.ratio(SCORES, SCORES + 1, IMAGE)
    rows = repeated(DRAWS.multiplicity[3])
    assert found.value == pytest.approx(SCORES.sum() / (SCORES + 1).sum())
    assert found.draws[3] == pytest.approx(SCORES[rows].sum() / (SCORES[rows] + 1).sum())
    low, high = found.interval(0.9)
    assert low < found.value < high and np.mean(found.draws < low) == pytest.approx(0.05, abs=0.01)


def test_a_difference_is_paired_by_draw() -> None:
    base = DRAWS.mean(SCORES, IMAGE)
    difference = DRAWS.mean(SCORES + 1, IMAGE) - base
    assert difference.interval(0.95) == (pytest.approx(1), pytest.approx(1)), "the same images in both, so nothing varies"


def test_what_does_not_exist_is_nan_and_left_out_of_means() -> None:
    nothing = DRAWS.auroc(SCORES, np.zeros(120, bool), IMAGE)
    assert np.isnan(nothing.value) and np.isnan(nothing.interval(0.95)).all()
    mean = mean_of([nothing, Measured(0.5, np.full(300, 0.25))])
    assert mean.value == 0.5 and (mean.draws == 0.25).all()
    assert np.isnan(mean_of([nothing]).value)
