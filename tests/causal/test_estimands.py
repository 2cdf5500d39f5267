"""What is formed from measurements, by hand."""

import numpy as np
import pytest

from segcompass.causal.estimands import monotone, spearman


def test_monotone_by_hand() -> None:
    """Four samples at three doses: rising, flat and rising, flat, rising and falling."""
    scores = np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 2.0], [2.0, 2.0, 1.0, 1.0]])
    assert monotone(scores).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_rank_correlations_by_hand() -> None:
    """Ranks 1, 2, 3 against 1, 3, 2: 1 - 6 * 2 / (3 * 8); what does not vary has none."""
    assert spearman(np.array([1.0, 5.0, 9.0]), np.array([0.0, 7.0, 2.0])) == pytest.approx(0.5)
    assert np.isnan(spearman(np.ones(3), np.arange(3.0)))
