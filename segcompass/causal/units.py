"""What an interface reads as units that can be edited one by one, whatever it reads (study key `interface.model.readout`).

| read-out | units of a row | go to |
|---|---|---|
| `concepts` | the sample's active concepts, on all tokens | a baseline (edits.py) |
| `words` | the words of the thought, one a token | the mean embedding of a word, in the same place |
| `references` | principal directions of the reference states, in all of the answer's states at once | their mean |

`contributions` say what a reader is told: what each unit adds to the score by the gradient where the reading stands, or along the straight
line from where all units have gone to their baseline (`path`). Both read the same gradient, with respect to the `leaf` of the reading.

Shape letters: R rows, T tokens, F concepts, A units of a row, q query width, d language width, K slots, u units of an edit.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from segcompass.causal.edits import Baseline, Edit, SampleCodes, Zero
from segcompass.joint.reading import Reading, Shown
from segcompass.joint.tokens import ReferenceTokens, WordTokens


class Units(Protocol):
    """Units of R rows."""

    counts: list[int]
    """A of each row."""
    whole: Shown
    """What is shown of each row before any edit."""

    def removed(self, edits: Sequence[Edit]) -> Shown:
        """What is shown once each row's edit is made; without units, exactly what was shown before."""

    def path(self, alpha: float) -> tuple[Tensor, Shown]:
        """What is shown at a share alpha of the way from all units at their baseline (0) to the reading (1), and its leaf."""

    def contributions(self, gradient: Tensor) -> list[Tensor]:
        """Contributions [A] of each row's units, from the gradient with respect to the leaf."""


class ConceptUnits:
    """Active concepts; each row's are those of its sample."""

    def __init__(self, rows: Tensor, samples: Sequence[SampleCodes], owner: Sequence[int], whole: Shown) -> None:
        """Units of slots.

        Args:
            rows: the interface's, [F, q].
            samples: codes of every sample.
            owner: sample of each row.
            whole: what is shown of each row.
        """
        self.rows, self.samples, self.owner, self.whole = rows, samples, owner, whole
        self.zero = Zero(rows)
        self.counts = [len(samples[sample].concepts) for sample in owner]

    def removed(self, edits: Sequence[Edit], baseline: Baseline | None = None) -> Shown:
        """See `Units`; concepts go to the baseline."""
        return self.with_tokens(self.whole.tokens - self.added(edits, baseline))

    def kept(self, edits: Sequence[Edit], baseline: Baseline | None = None) -> Shown:
        """What is shown once everything but each row's edit is at the baseline."""
        return self.with_tokens(self.nothing(baseline) + self.added(edits, baseline))

    def added(self, edits: Sequence[Edit], baseline: Baseline | None = None) -> Tensor:
        """Tokens [R, T, q] that the edits take away, or keep: what the units add beyond their baseline, times their share."""
        return torch.stack([self._added(row, edit, baseline or self.zero) for row, edit in enumerate(edits)])

    def nothing(self, baseline: Baseline | None = None) -> Tensor:
        """Tokens [R, T, q] with all concepts at the baseline."""
        found = [(baseline or self.zero).tokens(sample) for sample in self.owner]
        return torch.stack([tokens.expand(self.whole.tokens.shape[1:]) for tokens in found])

    def with_tokens(self, tokens: Tensor) -> Shown:
        """The same rows with other tokens."""
        return replace(self.whole, tokens=tokens)

    def norms(self, edits: Sequence[Edit], baseline: Baseline | None = None) -> Tensor:
        """Norm [R, T] of what the edits take from each token's codes."""
        return torch.stack([self._codes(row, edit, baseline or self.zero).norm(dim=1) for row, edit in enumerate(edits)])

    def path(self, alpha: float) -> tuple[Tensor, Shown]:
        """See `Units`; the leaf are the tokens, the baseline is zero."""
        leaf = (self.whole.tokens * alpha).requires_grad_(True)
        return leaf, self.with_tokens(leaf)

    def contributions(self, gradient: Tensor) -> list[Tensor]:
        """See `Units`."""
        found = []
        for row, sample in enumerate(self.owner):
            own = self.samples[sample]
            found.append((own.codes * (gradient[row] @ self.rows[own.concepts].T)).sum(0))
        return found

    def _codes(self, row: int, edit: Edit, baseline: Baseline) -> Tensor:
        sample = self.owner[row]
        own = self.samples[sample]
        beyond = own.codes[:, edit.units] - baseline.values(sample, own.concepts[edit.units])
        return beyond * (edit.share if edit.share.ndim == 1 else edit.share[own.kinds])

    def _added(self, row: int, edit: Edit, baseline: Baseline) -> Tensor:
        return self._codes(row, edit, baseline) @ self.rows[self.samples[self.owner[row]].concepts[edit.units]]


class WordUnits:
    """Words of the thought."""

    def __init__(self, tokens: WordTokens, mean: Tensor, reading: Reading, whole: Shown) -> None:
        """Units of slots.

        Args:
            tokens: the interface's.
            mean: embedding [q] that a word is replaced by.
            reading: of each row.
            whole: what is shown of each row.
        """
        self.whole = whole
        self._places = [thought.nonzero()[:, 0] for thought in reading.thought]
        self._beyond = (tokens.words(reading.ids) - mean) * reading.thought[..., None]
        self.counts = [len(places) for places in self._places]

    def removed(self, edits: Sequence[Edit]) -> Shown:
        """See `Units`."""
        share = self.whole.tokens.new_zeros(self.whole.tokens.shape[:2])
        for row, edit in enumerate(edits):
            share[row, self._places[row][edit.units]] = edit.share
        return replace(self.whole, tokens=self.whole.tokens - share[..., None] * self._beyond)

    def path(self, alpha: float) -> tuple[Tensor, Shown]:
        """See `Units`; the leaf are the tokens."""
        leaf = (self.whole.tokens - (1 - alpha) * self._beyond).requires_grad_(True)
        return leaf, replace(self.whole, tokens=leaf)

    def contributions(self, gradient: Tensor) -> list[Tensor]:
        """See `Units`."""
        of_tokens = (gradient * self._beyond).sum(-1)
        return [of_tokens[row, places] for row, places in enumerate(self._places)]


class ReferenceUnits:
    """Directions of the reference states, which slots are made from and which the slot mapper reads once more."""

    def __init__(self, tokens: ReferenceTokens, mean: Tensor, directions: Tensor, whole: Shown) -> None:
        """Units of slots.

        Args:
            tokens: the interface's.
            mean: [K, d], of centred reference states.
            directions: [A, d], orthonormal.
            whole: what is shown of each row.
        """
        self._tokens, self._directions = tokens, directions
        # By the product that makes edited ones, so that an edit of nothing changes no bit.
        self.whole = replace(whole, tokens=tokens.perceptron(whole.references))
        self._coordinates = (whole.references - mean) @ directions.T
        self.counts = [len(directions)] * len(whole.references)

    def removed(self, edits: Sequence[Edit]) -> Shown:
        """See `Units`."""
        share = self._coordinates.new_zeros(len(self._coordinates), len(self._directions))
        for row, edit in enumerate(edits):
            share[row, edit.units] = edit.share
        return self._shown(self.whole.references - (self._coordinates * share[:, None]) @ self._directions)

    def path(self, alpha: float) -> tuple[Tensor, Shown]:
        """See `Units`; the leaf are the reference states."""
        leaf = (self.whole.references - (1 - alpha) * self._coordinates @ self._directions).requires_grad_(True)
        return leaf, self._shown(leaf)

    def contributions(self, gradient: Tensor) -> list[Tensor]:
        """See `Units`."""
        return list(((gradient @ self._directions.T) * self._coordinates).sum(1))

    def _shown(self, references: Tensor) -> Shown:
        return replace(self.whole, tokens=self._tokens.perceptron(references), references=references)


def principal_directions(states: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [K, d] and all principal directions [d, d] of reference states [n, K, d], strongest first."""
    mean = states.mean(0)
    centred = (states - mean).flatten(0, 1).double()
    directions = torch.linalg.eigh(centred.T @ centred)[1].T.flip(0)
    return mean, directions.to(states.dtype)
