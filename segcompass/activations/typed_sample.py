"""A bounded sample of training tokens in which every token type is well represented, however rare it is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from segcompass.activations.source import TokenSource
from segcompass.errors import InputError

CHUNKS = 64
"""Chunks that are looked at, evenly over the source: tokens of one image are alike, so few tokens of many images say more."""


@dataclass(frozen=True)
class TypedSample:
    """Tokens of known types."""

    hidden: Tensor
    """float32 [n, d]."""
    types: Tensor
    """uint8 [n]."""
    shares: dict[int, float]
    """Type -> its share of the tokens that the sample was drawn from; the sample's own shares are others."""

    @property
    def weights(self) -> Tensor:
        """What each token stands for [n], in sum 1; a weighted sum over the sample is a mean over the tokens that it was drawn from."""
        found = self.hidden.new_zeros(len(self.types))
        for kind, share in self.shares.items():
            own = self.types == kind
            found[own] = share / int(own.sum())
        return found

    def to(self, device: torch.device) -> "TypedSample":
        """The sample on a device."""
        return TypedSample(self.hidden.to(device), self.types.to(device), self.shares)

    def thinned(self, of_each: int) -> "TypedSample":
        """Up to `of_each` of the tokens of each type, evenly over those that the sample has."""
        places = [_evenly((self.types == kind).nonzero()[:, 0], of_each) for kind in self.shares]
        kept = torch.cat(places)
        return TypedSample(self.hidden[kept], self.types[kept], self.shares)


def _evenly(places: Tensor, count: int) -> Tensor:
    """Up to `count` of the places [n], evenly spaced."""
    return places[torch.linspace(0, len(places) - 1, min(count, len(places)), device=places.device).round().long()]


def sample_by_type(source: TokenSource, of_each: int) -> TypedSample:
    """Up to `of_each` training tokens of each type, evenly over chunks and within them.

    Raises:
        InputError: no chunk that is looked at has a training token.
    """
    numbers = torch.linspace(0, source.chunks - 1, min(CHUNKS, source.chunks)).round().int().unique().tolist()
    parts: list[Tensor] = []
    types: list[Tensor] = []
    seen: dict[int, int] = {}
    for number in numbers:
        tokens = source.training(number)
        for kind in tokens["token_type"].unique().tolist():
            own = (tokens["token_type"] == kind).nonzero()[:, 0]
            seen[kind] = seen.get(kind, 0) + len(own)
            taken = _evenly(own, -(-of_each // len(numbers)))
            parts.append(tokens["hidden"][taken])
            types.append(tokens["token_type"][taken])
    if not parts:
        raise InputError(None, "activations", "hold no token for training; raise activations.scenes or lower held_out_fraction")
    total = sum(seen.values())
    return TypedSample(torch.cat(parts), torch.cat(types), {kind: count / total for kind, count in sorted(seen.items())})
