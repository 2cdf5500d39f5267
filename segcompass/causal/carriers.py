"""What carries an attribute: found on pairs of val, kind `contrast`, which name one object by either of its two values.

By corresponding tokens of the two sides' thoughts, t of T:
* concepts: those with the greatest mean over t of |z_f - z'_f|, first;
* neurons and principal components of the hidden states, by the same rule: |h_i - h'_i|, |p_i (h - h')|. The components are those of the
  thoughts' hidden states of the same pairs, all d of them;
* directions, the supervised ceiling: differences of mean hidden states. Of every two values u and v, the mean of h(u) - h(v) over pairs and
  corresponding tokens, once over tokens that name the value (where the thoughts have different words) and once over the others, which the
  value reaches by attention; of each role as many leading directions of these differences as the attribute has values less one, together an
  orthonormal basis. For two values these are the two differences of means themselves. They lie in the space of hidden states, as those of
  distributed alignment search do: in the space of codes they would be bound to the dictionary that they are a ceiling for.

Shape letters: F concepts, d language width, r dimensions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from segcompass.causal.pair_runs import PairChunk, PairRuns
from segcompass.joint.reading import Codes
from segcompass.sae.pca import moments
from segcompass.sae.sparse_tokens import SparseTokens

BLOCK_TOKENS = 256
"""Tokens whose difference is dense at one time."""
LEAST_SINGULAR = 1e-4
"""Directions with a singular value below this share of the largest are rounding."""


@dataclass(frozen=True)
class Carriers:
    """By attribute."""

    concepts: dict[str, Tensor]
    """int64 [F], strongest first."""
    neurons: dict[str, Tensor]
    """int64 [d], likewise."""
    components: dict[str, Tensor]
    """int64 [d], likewise: rows of `axes`."""
    directions: dict[str, Tensor]
    """Orthonormal bases [r, d]."""
    axes: Tensor
    """Principal components of the thoughts' hidden states, orthonormal [d, d]."""

    def chosen(self, attribute: str, count: int, features: int) -> Tensor:
        """bool [F]: the attribute's `count` strongest concepts."""
        mask = torch.zeros(features, dtype=torch.bool, device=self.axes.device)
        mask[self.concepts[attribute][:count]] = True
        return mask

    def basis(self, arm: str, attribute: str, count: int) -> Tensor:
        """Orthonormal basis [r, d] of the subspace that an arm exchanges: `direction`, `neurons` or `components`."""
        if arm == "direction":
            return self.directions[attribute]
        if arm == "neurons":
            return torch.eye(len(self.axes), device=self.axes.device)[self.neurons[attribute][:count]]
        return self.axes[self.components[attribute][:count]]


def find_carriers(pairs: PairRuns, size: int) -> Carriers:
    """What carries each attribute of the pairs, `size` of which are looked at together."""

    def chunks(attribute: str) -> Iterator[PairChunk]:
        return pairs.chunks(attribute, "contrast", size)

    axes = _principal(chunk for attribute in pairs.attributes for chunk in chunks(attribute))
    found = Carriers({}, {}, {}, {}, axes)
    for attribute in pairs.attributes:
        codes: Tensor | float = 0.0
        states: Tensor | float = 0.0
        along: Tensor | float = 0.0
        between: dict[tuple[bool, str, str], list[Tensor]] = {}
        for chunk in chunks(attribute):
            own, other, group = chunk.tokens("thought")
            hidden, ids = chunk.answers.hidden, chunk.answers.pool.ids
            difference = hidden[own] - hidden[other]
            codes = codes + moved(chunk.answers.pool.at(own), chunk.answers.pool.at(other)).double()
            states = states + difference.abs().sum(0).double()
            along = along + (difference @ axes.T).abs().sum(0).double()
            naming = ids[own] != ids[other]
            for place, (value, other_value) in enumerate(chunk.values):
                turned = 1.0 if value < other_value else -1.0
                first, second = sorted((value, other_value))
                for role in (True, False):
                    tokens = difference[(naming == role) & (group == place)]
                    if len(tokens):
                        between.setdefault((role, first, second), []).append(turned * tokens.mean(0))
        for kept, total in ((found.concepts, codes), (found.neurons, states), (found.components, along)):
            assert isinstance(total, Tensor)
            kept[attribute] = torch.argsort(total, descending=True, stable=True)
        values = {value for _, *both in between for value in both}
        roles = ([torch.stack(of).mean(0) for (kind, *_), of in between.items() if kind == role] for role in (True, False))
        found.directions[attribute] = joined([spanned(means, len(values) - 1) for means in roles if means])
    return found


def moved(own: Codes, other: Codes) -> Tensor:
    """Sum over tokens of |z_f - z'_f|, float [F], of M tokens and their corresponding ones."""
    total = None
    for start in range(0, len(own), BLOCK_TOKENS):
        rows = slice(start, min(start + BLOCK_TOKENS, len(own)))
        mine, theirs = (codes.dense(rows) if isinstance(codes, SparseTokens) else codes[rows] for codes in (own, other))
        part = (mine - theirs).abs().sum(0)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("no token to compare")
    return total


def spanned(differences: list[Tensor], most: int) -> Tensor:
    """Orthonormal basis [r, d] of the leading directions of some vectors [d], `most` at most; r is 0 where all of them are 0."""
    _, strengths, directions = torch.linalg.svd(torch.stack(differences).double(), full_matrices=False)
    kept = strengths > LEAST_SINGULAR * strengths.max().clamp(min=torch.finfo(torch.float32).tiny)
    return directions[kept][:most].float()


def joined(bases: list[Tensor]) -> Tensor:
    """Orthonormal basis [r, d] of what several bases [r_i, d] span together."""
    rows = torch.cat(bases)
    return spanned(list(rows), len(rows)) if len(rows) else rows


def _principal(chunks: Iterator[PairChunk]) -> Tensor:
    """Principal components [d, d] of the thoughts' hidden states of some pairs, strongest first."""

    def parts() -> Iterator[Tensor]:
        for chunk in chunks:
            own, other, _ = chunk.tokens("thought")
            yield chunk.answers.hidden[torch.cat([own, other])]

    _, covariance = moments(parts())
    return torch.linalg.eigh(covariance).eigenvectors.T.flip(0).float()
