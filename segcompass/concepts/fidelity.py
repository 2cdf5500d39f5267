"""How well a dictionary reconstructs each kind of token and how many concepts that takes (Figure 4), with all bootstrap draws.

Shape letters: n tokens, d width of the hidden states, F concepts, m images.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from segcompass.stats.draws import ClusterDraws, Measured

DENSITY_EDGES = np.concatenate([[0.0], 10.0 ** np.arange(-5, 0.5, 0.5)])
"""Edges of the firing-density histogram: the first bin holds what fires less than once in 100,000 tokens, the dead included."""
BLOCK = 1024
"""Decoder rows whose cosines are held in memory at once."""


@dataclass(frozen=True)
class Coded:
    """What a dictionary makes of n tokens."""

    codes: sparse.csr_matrix
    """[n, F]."""
    error: np.ndarray
    """Squared reconstruction error summed over d [n]."""


def fidelity(hidden: np.ndarray, coded: Coded, kind: np.ndarray, image: np.ndarray, draws: ClusterDraws) -> dict[str, Measured]:
    """Explained variance, squared error and L0 of the tokens of one kind.

    Explained variance is 1 - sum of squared errors / sum of squared deviations from the mean of the same tokens.

    Args:
        hidden: [n, d].
        coded: of the same tokens.
        kind: bool [n].
        image: int [n], cluster of each token.
        draws: of the images.
    """
    own, error, codes = image[kind], coded.error[kind], coded.codes[kind]
    spread = ((hidden[kind] - hidden[kind].mean(0)) ** 2).sum(1)
    unexplained = draws.ratio(error, spread, own)
    return {
        "explained_variance": Measured(1 - unexplained.value, 1 - unexplained.draws),
        "mse": draws.mean(error, own),
        "l0": draws.mean(np.diff(codes.indptr), own),
    }


def firing_density(codes: sparse.csr_matrix) -> np.ndarray:
    """Share of the tokens on which each concept fires [F]."""
    return np.bincount(codes.indices, minlength=codes.shape[1]) / max(1, codes.shape[0])


def dead_fraction(codes: sparse.csr_matrix, draws: ClusterDraws) -> Measured:
    """Share of the concepts that never fire on codes [n, F].

    Args:
        codes: [n, F].
        draws: of the F concepts: with fewer different images, as in a draw of images, more concepts would be dead.
    """
    return draws.mean((firing_density(codes) == 0).astype(float), np.arange(codes.shape[1]))


def decoder_coherence(decoder: np.ndarray, draws: ClusterDraws) -> dict[str, Measured]:
    """Mean absolute cosine of a decoder row to the others, and to the nearest other one, averaged over the F rows [F, d].

    Args:
        decoder: [F, d].
        draws: of the F concepts: a decoder has no images.
    """
    unit = decoder / np.maximum(np.linalg.norm(decoder, axis=1, keepdims=True), 1e-12)
    mean, nearest = [], []
    for start in range(0, len(unit), BLOCK):
        cosine = np.abs(unit[start : start + BLOCK] @ unit.T)
        cosine[np.arange(len(cosine)), start + np.arange(len(cosine))] = 0
        mean.append(cosine.sum(1) / max(1, len(unit) - 1))
        nearest.append(cosine.max(1))
    concept = np.arange(len(unit))
    return {
        "decoder_coherence_mean": draws.mean(np.concatenate(mean), concept),
        "decoder_coherence_nearest": draws.mean(np.concatenate(nearest), concept),
    }
