"""Controls of an edit of concepts: other concepts, alike where it counts, and random directions.

Matched concepts. What an edit removes is counted within each token type: its frequency (codes that it touches) and its mass as the
interface weighs it, |code| times the length of the concept's row, times the weight that the tokens enter attention with (the handicap of
the prompt, codebook.py). A concept that carries a thought may do nothing on the picture, so no single concept is alike everywhere: the
control of each token type is drawn for that type alone, among the active concepts that were not chosen, and its codes go to the baseline
on the tokens of that type alone. A control is drawn in three steps:
1. each chosen concept is paired with a concept of its own, by the least total distance of log mass and log frequency, to which noise is
   added, so that draws differ;
2. of each pair's control as large a share is taken as its partner's mass asks for, or, where others hold less than theirs, a larger one;
3. where all of them hold less together, further concepts are taken, those first whose codes are as strong as the chosen ones'.
So the mass is equal in each token type wherever the other concepts hold that much. Where the chosen ones hold more than half of it, they do
not: the control takes all of them, and the ratio above 1 that is recorded says that it decides nothing. The frequency is near, and
recorded.

Random directions. From every token's code the edit takes a vector; the control takes one random direction of the whole code space, the same
for all tokens, as long as that vector on each token.

Source: matched controls as in the design's section 9; distances as in nearest-neighbour matching without replacement.

Shape letters: R rows (slots of samples), T tokens, F concepts, A active concepts of a sample, q query width, u units of an edit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from segcompass.causal.edits import KINDS, Baseline, Edit, SampleCodes
from segcompass.causal.units import ConceptUnits

LESS = 0.5
"""What a control's surplus of mass counts in a pair's distance, beside its lack of it: what is too much is taken by a share."""
NOISE = 0.5
"""Greatest distance that is added to a pair, in units of the logarithm."""
PAIRED, OFFERED = 64, 512
"""So many chosen concepts are paired at a time, out of so many others, drawn where there are more: the work grows with the concepts."""


@dataclass(frozen=True)
class Weighed:
    """What the concepts of a sample weigh in each token type, in the order of `KINDS`."""

    frequency: np.ndarray
    """Tokens on which each concept is active, [3, A]."""
    mass: np.ndarray
    """[3, A]."""

    def of(self, edit: Edit) -> "Weighed":
        """What an edit touches, summed over its units: [3]."""
        share = edit.share.expand(len(KINDS) + 1, -1)[: len(KINDS)].abs().double().cpu().numpy()
        units = edit.units.cpu().numpy()
        return Weighed((self.frequency[:, units] * (share > 0)).sum(1), (self.mass[:, units] * share).sum(1))


def weighed(own: SampleCodes, rows: Tensor, weights: Tensor) -> Weighed:
    """What a sample's concepts weigh.

    Args:
        own: its codes.
        rows: the interface's, [F, q].
        weights: with which its tokens enter attention, [T].
    """
    lengths = rows[own.concepts].norm(dim=1)
    absolute = own.codes.abs()
    places = [own.kinds == kind for kind in KINDS.values()]
    frequency = torch.stack([(absolute[where] > 0).sum(0) for where in places])
    mass = torch.stack([weights[where] @ absolute[where] for where in places]) * lengths
    return Weighed(frequency.double().cpu().numpy(), mass.double().cpu().numpy())


def matched(chosen: np.ndarray, sample: Weighed, generator: np.random.Generator, barred: Sequence[int] | np.ndarray = ()) -> Edit:
    """The control of an edit that replaces the `chosen` units, int [u], of a sample; `barred` units are not drawn either."""
    free = np.ones(sample.mass.shape[1], bool)
    free[chosen] = False
    free[np.asarray(barred, int)] = False
    share = np.zeros((len(KINDS) + 1, len(free)))
    for kind, (frequency, mass) in enumerate(zip(sample.frequency, sample.mass, strict=True)):
        mine, others = chosen[mass[chosen] > 0], np.flatnonzero(free & (mass > 0))
        if len(mine) and len(others):
            _draw(share[kind], mine, others, frequency, mass, generator)
    units = np.flatnonzero(share.any(0))
    return Edit(torch.from_numpy(units), torch.from_numpy(share[:, units]).float())


def direction_like(
    units: ConceptUnits, edits: Sequence[Edit], generators: Sequence[np.random.Generator], baseline: Baseline | None = None
) -> Tensor:
    """Tokens [R, T, q] that a random direction of each row takes away, as long on every token as what the row's edit takes."""
    directions = [torch.from_numpy(generator.standard_normal(len(units.rows))).to(units.rows) for generator in generators]
    tokens = torch.stack([(direction / direction.norm()) @ units.rows for direction in directions])
    return units.norms(edits, baseline)[..., None] * tokens[:, None]


def _draw(
    share: np.ndarray, mine: np.ndarray, others: np.ndarray, frequency: np.ndarray, mass: np.ndarray, generator: np.random.Generator
) -> None:
    """Sets the shares [A] of the control of one token type."""
    partners, pairs, rest = _paired(mine, others, frequency, mass, generator)
    share[pairs] = _filled(mass[partners] / mass[pairs], mass[pairs], mass[mine].sum())
    lacking = mass[mine].sum() - mass[pairs].sum()
    if lacking > 0:
        strength = np.log(mass[rest] / frequency[rest]) - np.log(mass[mine].sum() / frequency[mine].sum())
        order = rest[np.argsort(abs(strength) + NOISE * generator.random(len(rest)), kind="stable")]
        before = mass[order].cumsum() - mass[order]
        share[order] = np.clip((lacking - before) / mass[order], 0.0, 1.0)


def _paired(
    mine: np.ndarray, others: np.ndarray, frequency: np.ndarray, mass: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chosen concepts, the concept that each is paired with, and the other concepts that are left over."""
    partners, pairs = [], []
    turn = generator.permutation(mine)
    for start in range(0, len(turn), PAIRED):
        block = turn[start : start + PAIRED]
        offered = others if len(others) <= OFFERED else generator.choice(others, OFFERED, replace=False)
        less = np.log(mass[block])[:, None] - np.log(mass[offered])
        distance = np.where(less > 0, less, -LESS * less) + abs(np.log(frequency[block])[:, None] - np.log(frequency[offered]))
        rows, columns = linear_sum_assignment(distance + NOISE * generator.random(distance.shape))
        partners.append(block[rows])
        pairs.append(offered[columns])
        others = np.setdiff1d(others, pairs[-1])
    return np.concatenate(partners), np.concatenate(pairs), others


def _filled(ratios: np.ndarray, mass: np.ndarray, wanted: float) -> np.ndarray:
    """Shares min(1, level * ratio) of masses that sum up to what is wanted; all of them where they hold less."""
    if mass.sum() <= wanted:
        return np.ones_like(mass)
    full = np.argsort(-ratios, kind="stable")  # in this order shares reach 1 as the level rises
    ratios, mass_of = ratios[full], mass[full]
    held = np.concatenate([[0.0], mass_of.cumsum()[:-1]])
    rising = (ratios * mass_of)[::-1].cumsum()[::-1]
    levels = (wanted - held) / rising
    level = levels[np.argmax(levels * ratios <= 1 + 1e-12)]
    shares = np.empty_like(mass)
    shares[full] = np.minimum(1.0, level * ratios)
    return shares
