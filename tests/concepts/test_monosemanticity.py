"""The monosemanticity score by hand and against a loop over all pairs."""

import numpy as np
import pytest
from scipy import sparse

from segcompass.concepts.monosemanticity import attribute_embeddings, monosemanticity
from segcompass.stats.draws import ClusterDraws

CLASSES = np.array([[0, 0], [0, 1], [1, 1], [0, 0]])


def test_embeddings_are_shares_of_agreeing_attributes() -> None:
    alike = attribute_embeddings(CLASSES)
    assert (alike @ alike.T)[0] == pytest.approx([1, 0.5, 0, 1])


def test_score_by_hand() -> None:
    # Concept 0 fires on patches 0 (activation 2) and 1 (1): one pair, alike in one of two attributes. Concept 1: on 0 and 3, alike in both,
    # and on 2 with half its strength: (1 * 1 + 0.5 * 0 + 0.5 * 0) / (1 + 0.5 + 0.5). Concept 2 fires once, concept 3 never.
    codes = np.array([[2.0, 4, 1, 0], [1, 0, 0, 0], [0, 2, 0, 0], [0, 4, 0, -1]])
    scores, mean = monosemanticity(sparse.csc_matrix(codes), attribute_embeddings(CLASSES), np.arange(4), ClusterDraws(4, 50, 0))
    assert scores[:2] == pytest.approx([0.5, 0.5]) and np.isnan(scores[2:]).all()
    assert mean.value == pytest.approx(0.5)


def test_pairs_of_one_image_do_not_count_and_draws_are_those_of_repeated_images() -> None:
    generator = np.random.default_rng(0)
    codes = generator.random((60, 70)) * (generator.random((60, 70)) < 0.4)
    image = generator.integers(0, 8, 60)
    alike = attribute_embeddings(generator.integers(0, 3, (60, 4)))
    draws = ClusterDraws(8, 20, 0)
    scores, mean = monosemanticity(sparse.csc_matrix(codes), alike, image, draws)
    scaled = codes / codes.max(0)

    def slow(weight: np.ndarray) -> np.ndarray:
        pairs = (image[:, None] != image) * weight[:, None] * weight
        weights = np.einsum("nf,mf,nm->fnm", scaled, scaled, pairs)
        with np.errstate(invalid="ignore"):
            return (weights * (alike @ alike.T)).sum((1, 2)) / weights.sum((1, 2))

    assert scores == pytest.approx(slow(np.ones(60)), nan_ok=True)
    assert mean.draws[11] == pytest.approx(np.nanmean(slow(draws.multiplicity[11][image])))
