"""Fidelity of codes on tokens whose numbers can be counted."""

import numpy as np
import pytest
from scipy import sparse

from segcompass.concepts.contrast import contrast
from segcompass.concepts.fidelity import Coded, dead_fraction, decoder_coherence, fidelity, firing_density
from segcompass.stats.draws import ClusterDraws, Measured

CODES = sparse.csr_matrix(np.array([[1.0, 0, 0], [1, 2, 0], [0, 0, 0], [3, 0, 0]]))


def test_fidelity_by_hand() -> None:
    hidden = np.array([[0.0, 0], [2, 0], [4, 0], [9, 9]])
    kind = np.array([True, True, True, False])
    draws = ClusterDraws(2, 100, 0)
    found = fidelity(hidden, Coded(CODES, np.array([0.5, 0.5, 1, 7])), kind, np.array([0, 0, 1, 1]), draws)
    # Deviations from the mean (2, 0): 4 + 0 + 4; errors 2.
    assert found["explained_variance"].value == pytest.approx(1 - 2 / 8)
    assert found["mse"].value == pytest.approx(2 / 3) and found["l0"].value == 1.0
    assert set(np.round(found["l0"].draws, 9)) == {0.0, 1.0, 1.5}, "image 1 alone, both, image 0 alone"


def test_density_and_dead_concepts() -> None:
    assert firing_density(CODES).tolist() == [0.75, 0.25, 0]
    found = dead_fraction(CODES, ClusterDraws(3, 100, 0))
    assert found.value == pytest.approx(1 / 3) and {0.0, 1.0} <= set(found.draws)


def test_coherence_of_orthogonal_and_parallel_rows() -> None:
    decoder = np.array([[1.0, 0], [-5, 0], [0, 2]])
    found = decoder_coherence(decoder, ClusterDraws(3, 50, 0))
    assert found["decoder_coherence_nearest"].value == pytest.approx(2 / 3)  # 1, 1, 0
    assert found["decoder_coherence_mean"].value == pytest.approx(1 / 3)  # 1/2, 1/2, 0


def test_a_contrast_tells_only_what_its_interval_tells() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 500)
    high, low = Measured(1.0, 1 + noise), Measured(0.5, 0.5 + noise)
    row = contrast(high, low, high, 0.95)
    assert row["difference"] == 0.5 and row["tells_trained_from_random"] is True and row["tells_truth_from_shuffled"] is False
    assert contrast(low, high, None, 0.95)["tells_trained_from_random"] is True, "worse than untrained is told as well"
    assert np.isnan(contrast(high, low, None, 0.95)["tells_truth_from_shuffled"])
    unknown = Measured(float("nan"), np.full(500, np.nan))
    assert contrast(unknown, low, None, 0.95)["tells_trained_from_random"] is False
