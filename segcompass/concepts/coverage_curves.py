"""Figure 5 for a dictionary: coverage of the target over the share of tokens, for two rankings, and for rankings without meaning.

Rankings: `thought`, how strongly a visual token carries the concepts of the expression's thought; `activation`, its total activation, as
in the paper, which no instruction can change. Shuffled twins: the thought of another image's expression; the image's tokens permuted.

Shape letters: s expressions with a target and a thought, q shares of the tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from segcompass.concepts.coverage import covered_shares, pixels_under
from segcompass.concepts.labelled import THOUGHT, VISUAL, LabelledTokens
from segcompass.datasets.masks import decode

RANKINGS = ("thought", "activation")


@dataclass(frozen=True)
class Target:
    """Where an expression's target lies among the visual tokens of its image."""

    sample: int
    image: int
    pixels: np.ndarray
    """[v], target pixels under each token."""
    area: np.ndarray
    """[v], pixels under each token."""


def targets(tokens: LabelledTokens) -> list[Target]:
    """Targets of the expressions that have one and whose answer holds a thought."""
    thinks = set(tokens.sample[tokens.token_type == THOUGHT].tolist())
    found = []
    for index, sample in enumerate(tokens.samples):
        if sample["target"] is None or index not in thinks:
            continue
        boxes = tokens.boxes[(tokens.token_type == VISUAL) & (tokens.image == sample["image"])]
        pixels, area = pixels_under(boxes, decode(sample["target"]))
        if pixels.any():
            found.append(Target(index, sample["image"], pixels, area))
    return found


def coverage_curves(
    tokens: LabelledTokens, codes: sparse.csr_matrix, chosen: Sequence[Target], fractions: Sequence[float], seed: int, shuffled: bool
) -> dict[str, np.ndarray]:
    """Ranking -> covered shares [s, q]; with `shuffled`, those of the rankings' twins.

    Args:
        tokens: all tokens of the split.
        codes: of the same tokens [n, F].
        chosen: what `targets` found.
        fractions: [q].
        seed: of the shuffling.
        shuffled: whether the twins are wanted.
    """
    generator = np.random.default_rng([seed, 5])
    visual = [np.flatnonzero((tokens.token_type == VISUAL) & (tokens.image == number)) for number in range(len(tokens.images))]
    thought = {target.sample: np.flatnonzero((tokens.token_type == THOUGHT) & (tokens.sample == target.sample)) for target in chosen}
    found: dict[str, list[np.ndarray]] = {ranking: [] for ranking in RANKINGS}
    for target in chosen:
        own = codes[visual[target.image]]
        others = [other.sample for other in chosen if other.image != target.image]
        reader = int(generator.choice(others)) if shuffled and others else target.sample
        mean = np.asarray(codes[thought[reader]].mean(axis=0)).ravel()
        total = np.asarray(abs(own).sum(axis=1)).ravel()
        scores = {"thought": own @ mean, "activation": generator.permutation(total) if shuffled else total}
        for ranking in RANKINGS:
            found[ranking].append(covered_shares(scores[ranking], target.pixels, target.area, fractions)[0])
    return {ranking: np.array(rows).reshape(len(rows), len(fractions)) for ranking, rows in found.items()}


def random_shares(chosen: Sequence[Target], fractions: Sequence[float]) -> np.ndarray:
    """Expected coverage [s, q] by as many random tokens of the image."""
    rows = [covered_shares(np.zeros(len(target.area)), target.pixels, target.area, fractions)[1] for target in chosen]
    return np.array(rows).reshape(len(rows), len(fractions))
