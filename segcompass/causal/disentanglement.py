"""Disentanglement of attributes, as in SAEBench's RAVEL.

With two attributes D = (cause_A + cause_B + iso_AB + iso_BA) / 4: cause_A is how often the exchange of A's concepts moves the answer to
what the other run says of A, iso_AB how often it leaves an answer about B alone. With any number of attributes it is
D = mean over A of (cause_A + mean over B of iso_AB) / 2, which is the same for two. Sources: Huang et al., "RAVEL: Evaluating
interpretability methods on disentangling language model representations", 2024; Karvonen et al., "SAEBench", 2025.
Range 0 to 1. Null value: 0.5, of an edit that does nothing to an interface that is always right (cause 0, isolation 1), and of one that
always destroys what it touches without a bias (cause 1/2, isolation 1/2).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np


def disentanglement(cause: Mapping[str, float], isolation: Mapping[tuple[str, str], float]) -> float:
    """D of mean causes by attribute A, and mean isolations by (A, B): A's concepts exchanged, an answer about B looked at.

    An attribute A without any isolation counts with its cause alone; NaN where there is no attribute.
    """
    each = []
    for attribute, moved in cause.items():
        stays = [value for (edited, _), value in isolation.items() if edited == attribute]
        each.append((moved + float(np.mean(stays))) / 2 if stays else moved)
    return float(np.mean(each)) if each else float("nan")


def best_count(counts: Sequence[int], score: Callable[[int], float]) -> tuple[int, dict[int, float]]:
    """The number of concepts with the best score, the smallest of several; and the score of each. One number alone is not scored."""
    if len(counts) == 1:
        return counts[0], {}
    scores = {count: score(count) for count in sorted(counts)}
    return max(scores, key=lambda count: (scores[count], -count)), scores
