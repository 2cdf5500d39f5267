"""Monosemanticity score: how alike the patches are that a concept fires on.

Pach, Karthik, Bouniot, Belongie, Akata, "Sparse autoencoders learn monosemantic features in vision-language models" (2025): the mean
similarity of pairs of inputs, each pair weighted by the product of the concept's activations, scaled to 0 … 1, on both.
Departures: 1. patches on objects alone count, and two of them are as alike as the share of attributes in which their objects agree, by the
scene's truth and not by another network's embedding; 2. pairs within one image do not count: neighbouring patches are alike for no merit.

Shape letters: n visual tokens on objects, a attributes, F concepts, D entries of an embedding, m images, B draws.
"""

import numpy as np
from scipy import sparse

from segcompass.stats.draws import ClusterDraws, Measured

BLOCK = 64
"""Concepts whose draws are held in memory at once."""
TINY = 1e-9
"""Weight of pairs, as a share of all, below which a concept counts as firing on one image only."""


def attribute_embeddings(classes: np.ndarray) -> np.ndarray:
    """Unit vectors [n, D] whose inner products are shares of agreeing attributes, from class numbers int [n, a], none below 0."""
    columns = [classes[:, [index]] == np.arange(classes[:, index].max(initial=0) + 1) for index in range(classes.shape[1])]
    return np.concatenate(columns, axis=1) / np.sqrt(classes.shape[1])


def monosemanticity(
    codes: sparse.csc_matrix, embeddings: np.ndarray, image: np.ndarray, draws: ClusterDraws
) -> tuple[np.ndarray, Measured]:
    """Score of each concept [F], NaN where it fires on fewer than two images, and the mean over the others with its draws.

    Args:
        codes: [n, F]; only positive activations count.
        embeddings: unit vectors [n, D].
        image: int [n], 0 … m - 1.
        draws: of those images.
    """
    rows = [np.flatnonzero(image == number) for number in range(draws.clusters)]
    weights = np.vstack([np.ones(draws.clusters), draws.multiplicity])  # the first row is the data as they are
    extended = np.column_stack([embeddings, np.ones(len(embeddings))])
    scores = []
    for start in range(0, codes.shape[1], BLOCK):
        active = codes[:, start : start + BLOCK].toarray().clip(min=0)
        active /= np.maximum(active.max(0), TINY)
        sums = np.stack([active[own].T @ extended[own] for own in rows])  # [m, F', D + 1]: of embeddings, and of activations
        within = (weights**2) @ np.stack([(sums[..., :-1] ** 2).sum(-1), sums[..., -1] ** 2], -1).reshape(len(rows), -1)
        total = (weights @ sums.reshape(len(rows), -1)).reshape(len(weights), *sums.shape[1:])
        between = np.stack([(total[..., :-1] ** 2).sum(-1), total[..., -1] ** 2], -1) - within.reshape(*total.shape[:2], 2)
        exists = between[..., 1] > TINY * np.maximum(total[..., -1] ** 2, TINY)
        scores.append(np.divide(between[..., 0], between[..., 1], out=np.full(exists.shape, np.nan), where=exists))
    every = np.concatenate(scores, axis=1)  # [1 + B, F]
    known = ~np.isnan(every)
    means = np.divide(np.where(known, every, 0).sum(1), known.sum(1), out=np.full(len(every), np.nan), where=known.any(1))
    return every[0], Measured(float(means[0]), means[1:])
