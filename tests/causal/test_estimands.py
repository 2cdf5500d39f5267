"""What is formed from measurements, by hand."""

import numpy as np
import pytest

from segcompass.causal.estimands import areas, calibration, faithfulness, monotone, spearman


def test_areas_are_those_of_the_published_formula() -> None:
    """MIB adds up trapezoids of f and of |1 - f| between the percentages: here 0.1 * 0.35 + 0.4 * 0.8 + 0.5 * 1.05 and so on, by hand."""
    cpr, cmd = areas([0.0, 0.1, 0.5, 1.0], [0.2, 0.5, 1.1, 1.0])
    assert cpr == pytest.approx(0.1 * 0.35 + 0.4 * 0.8 + 0.5 * 1.05)
    assert cmd == pytest.approx(0.1 * (0.8 + 0.5) / 2 + 0.4 * (0.5 + 0.1) / 2 + 0.5 * (0.1 + 0.0) / 2)
    assert areas([0.0, 1.0], [1.0, 1.0]) == (1.0, 0.0)


def test_f_is_undefined_where_all_and_none_are_one() -> None:
    f = faithfulness(np.array([1.0, 3.0]), np.array([2.0, 1.0]), np.array([2.0, 5.0]))
    assert np.isnan(f[0]) and f[1] == 0.5


def test_calibration_by_hand() -> None:
    """Predicted 1, 2, 3 and observed 2, 4, 6: slope 2; errors 1, 2, 3; variance 8; one of three within half of a scale of 2."""
    told = calibration(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]), np.full(3, 2.0), 0.5)
    assert told.slope == pytest.approx(2) and told.r2 == pytest.approx(1 - 14 / 8) and told.share_within == pytest.approx(1 / 3)


def test_monotone_by_hand() -> None:
    """Four samples at three doses: rising, flat and rising, flat, rising and falling."""
    scores = np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 2.0], [2.0, 2.0, 1.0, 1.0]])
    assert monotone(scores).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_rank_correlations_by_hand() -> None:
    """Ranks 1, 2, 3 against 1, 3, 2: 1 - 6 * 2 / (3 * 8); what does not vary has none."""
    assert spearman(np.array([1.0, 5.0, 9.0]), np.array([0.0, 7.0, 2.0])) == pytest.approx(0.5)
    assert np.isnan(spearman(np.ones(3), np.arange(3.0)))
