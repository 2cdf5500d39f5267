"""Edits, and what codes are replaced by: nothing, their mean, or those of another sample (design section 9).

Whatever an interface reads, its slots are made from tokens. A token is a sum over concepts of code times row, so an edit of codes takes
from the tokens what the edited concepts add to them beyond their baseline, and costs one small product instead of a second reading. Codes
below the interface's threshold count as 0, before the edit and after it.

Baselines: `zero`; `mean`, the mean code of the concept over tokens of that type of val samples, active or not; `resample`, the codes of one
val sample, drawn once, whose tokens of each type stand in for the sample's in their order, from the beginning again where they are fewer.
Beside the concepts of a sample the last two replace those that are not active in it: where everything goes to the baseline, so do they.

Shape letters: n samples, R rows (slots of samples), T tokens, F concepts, A active concepts of a sample, q query width, u units of an edit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from segcompass.backbone.token_types import INSTRUCTION, OTHER, THOUGHT, VISUAL
from segcompass.sae.sparse_tokens import SparseTokens

KINDS = {"visual": VISUAL, "instruction": INSTRUCTION, "thought": THOUGHT}
"""Token types by name; their numbers are rows of what is held by token type, in which row `UNREAD` stands for all other tokens."""
UNREAD = 3


@dataclass(frozen=True)
class Edit:
    """What is edited in one row."""

    units: Tensor
    """int64 [u], places among the row's units, each once."""
    share: Tensor
    """[u], or [4, u] by token type: how far each unit goes to its baseline: 1 replaces it, 0 leaves it, -1 doubles its distance."""

    @classmethod
    def whole(cls, units: Sequence[int] | Tensor) -> "Edit":
        """Units that are replaced on all tokens; none is the identity."""
        places = torch.as_tensor(units, dtype=torch.long)
        return cls(places, torch.ones(len(places)))

    @classmethod
    def scaled(cls, units: Sequence[int] | Tensor, dose: float) -> "Edit":
        """Units times `dose`, where the baseline is zero."""
        places = torch.as_tensor(units, dtype=torch.long)
        return cls(places, torch.full((len(places),), 1.0 - dose))


@dataclass(frozen=True)
class SampleCodes:
    """Codes of one sample, over its own active concepts: what of [T, F] is not zero."""

    concepts: Tensor
    """int64 [A], ascending."""
    codes: Tensor
    """[T, A], 0 below the threshold."""
    kinds: Tensor
    """int64 [T], token types, `UNREAD` where there is none."""

    def at(self, concepts: Tensor) -> Tensor:
        """Codes [T, u] of the given concepts [u], 0 of those that are not active."""
        if not len(self.concepts):
            return self.codes.new_zeros(len(self.codes), len(concepts))
        places = torch.searchsorted(self.concepts, concepts).clamp(max=len(self.concepts) - 1)
        return self.codes[:, places] * (self.concepts[places] == concepts)


def kinds_of(token_types: Tensor) -> Tensor:
    """Rows by token type, int64, of token types, uint8."""
    return torch.where(token_types == OTHER, UNREAD, token_types.long())


def codes_of_samples(codes: SparseTokens, token_types: Tensor, threshold: float) -> list[SampleCodes]:
    """Codes of n samples with token types [n, T], from those of their n * T tokens in sparse form; tokens of no type have none."""
    length = token_types.shape[1]
    found = []
    for sample, types in enumerate(token_types):
        part = codes[sample * length : (sample + 1) * length]
        kept = (part.values.abs() >= threshold) & torch.repeat_interleave(types != OTHER, part.counts)
        concepts, values = part.indices[kept].long(), part.values[kept]
        present = torch.zeros(codes.features, dtype=torch.bool, device=values.device)
        present[concepts] = True
        active = present.nonzero()[:, 0]
        block = values.new_zeros(length, len(active))
        place = present.long().cumsum(0) - 1
        block[torch.repeat_interleave(part.counts)[kept], place[concepts]] = values
        found.append(SampleCodes(active, block, kinds_of(types)))
    return found


class Baseline(Protocol):
    """What concepts of some samples go to."""

    def tokens(self, sample: int) -> Tensor:
        """Tokens [T, q] of a sample, or what is broadcast to them, all of whose concepts, active or not, have gone there."""

    def values(self, sample: int, concepts: Tensor) -> Tensor:
        """Codes [T, u] of concepts [u], or what is broadcast to them."""


class Zero:
    """Nothing."""

    def __init__(self, rows: Tensor) -> None:
        self._nothing = rows.new_zeros(())

    def tokens(self, sample: int) -> Tensor:  # noqa: ARG002
        """0."""
        return self._nothing

    def values(self, sample: int, concepts: Tensor) -> Tensor:  # noqa: ARG002
        """0."""
        return self._nothing


class Mean:
    """The mean code of each concept by token type."""

    def __init__(self, means: Tensor, rows: Tensor, samples: Sequence[SampleCodes]) -> None:
        """Takes means [4, F] and the interface's rows [F, q]."""
        self._means, self._samples, self._tokens = means, samples, means @ rows

    def tokens(self, sample: int) -> Tensor:
        """See `Baseline`."""
        return self._tokens[self._samples[sample].kinds]

    def values(self, sample: int, concepts: Tensor) -> Tensor:
        """See `Baseline`."""
        return self._means[:, concepts][self._samples[sample].kinds]


class Resample:
    """The codes of one donor a sample, token by token."""

    def __init__(self, donors: Sequence[SampleCodes], rows: Tensor, samples: Sequence[SampleCodes]) -> None:
        """Takes the donor of each sample and the interface's rows [F, q]."""
        self._donors, self._rows = donors, rows
        self._places = [aligned(own.kinds, donor.kinds) for own, donor in zip(samples, donors, strict=True)]

    def tokens(self, sample: int) -> Tensor:
        """See `Baseline`."""
        donor = self._donors[sample]
        return self._moved(sample, donor.codes @ self._rows[donor.concepts])

    def values(self, sample: int, concepts: Tensor) -> Tensor:
        """See `Baseline`."""
        return self._moved(sample, self._donors[sample].at(concepts))

    def _moved(self, sample: int, of_donor: Tensor) -> Tensor:
        places = self._places[sample]
        return torch.where(places[:, None] >= 0, of_donor[places], 0.0)


def aligned(kinds: Tensor, donor: Tensor) -> Tensor:
    """Token of a donor, with kinds [T'], for each token of a sample, with kinds [T]: the next one of its kind; -1 where there is none."""
    places = torch.full_like(kinds, -1)
    for kind in KINDS.values():
        own, other = (kinds == kind).nonzero()[:, 0], (donor == kind).nonzero()[:, 0]
        if len(other):
            places[own] = other[torch.arange(len(own), device=kinds.device) % len(other)]
    return places


class MeanCodes:
    """Mean codes by token type, over samples that come in parts."""

    def __init__(self, features: int) -> None:
        self._sums, self._counts = torch.zeros(4, features, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)

    def add(self, samples: Sequence[SampleCodes]) -> None:
        """Counts samples in."""
        for sample in samples:
            for kind in KINDS.values():
                tokens = sample.kinds == kind
                self._sums[kind, sample.concepts.cpu()] += sample.codes[tokens].sum(0).double().cpu()
                self._counts[kind] += int(tokens.sum())

    def means(self) -> Tensor:
        """[4, F], float32; 0 of a type that was not seen."""
        return (self._sums / self._counts.clamp(min=1)[:, None]).float()
