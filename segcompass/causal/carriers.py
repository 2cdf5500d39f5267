"""What carries an attribute: found on pairs of val, kind `contrast`, which name one object by either of its two values.

By corresponding tokens of the two sides' thoughts, t of T:
* concepts: those with the greatest mean over t of |z_f - z'_f|, first;
* neurons and principal components of the hidden states, by the same rule: |h_i - h'_i|, |p_i (h - h')|. The components are those of the
  thoughts' hidden states of the same pairs, all d of them;
* directions, the supervised ceiling: an orthonormal basis of the differences of the values' mean hidden states over the tokens that name
  the value (those where the two thoughts have different words), as many as the attribute has values less one. For two values this is the
  one direction of the difference of means. It lies in the space of hidden states, as distributed alignment search does: in the space of
  codes a direction would be bound to the dictionary that it is a ceiling for.

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
        named: dict[str, list[Tensor]] = {}
        for chunk in chunks(attribute):
            own, other, group = chunk.tokens("thought")
            hidden, ids = chunk.answers.hidden, chunk.answers.pool.ids
            difference = hidden[own] - hidden[other]
            codes = codes + moved(chunk.answers.pool.at(own), chunk.answers.pool.at(other)).double()
            states = states + difference.abs().sum(0).double()
            along = along + (difference @ axes.T).abs().sum(0).double()
            naming = ids[own] != ids[other]
            for place, (value, other_value) in enumerate(chunk.values):
                here = naming & (group == place)
                named.setdefault(value, []).append(hidden[own[here]])
                named.setdefault(other_value, []).append(hidden[other[here]])
        for kept, total in ((found.concepts, codes), (found.neurons, states), (found.components, along)):
            assert isinstance(total, Tensor)
            kept[attribute] = torch.argsort(total, descending=True, stable=True)
        found.directions[attribute] = spanned([torch.cat(parts).mean(0) for parts in named.values() if sum(map(len, parts))])
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


def spanned(means: list[Tensor]) -> Tensor:
    """Orthonormal basis [r, d] of the differences of means [d]; r is 0 where they are all alike."""
    stacked = torch.stack(means).double()
    _, strengths, directions = torch.linalg.svd(stacked - stacked.mean(0), full_matrices=False)
    return directions[strengths > LEAST_SINGULAR * strengths.max().clamp(min=torch.finfo(torch.float32).tiny)].float()


def _principal(chunks: Iterator[PairChunk]) -> Tensor:
    """Principal components [d, d] of the thoughts' hidden states of some pairs, strongest first."""

    def parts() -> Iterator[Tensor]:
        for chunk in chunks:
            own, other, _ = chunk.tokens("thought")
            yield chunk.answers.hidden[torch.cat([own, other])]

    _, covariance = moments(parts())
    return torch.linalg.eigh(covariance).eigenvectors.T.flip(0).float()
