"""What the slots' encoder reads: concepts of all tokens, words of the thought, or reference states, as tokens of the query width.

Shape letters: N sequences, T tokens, F concepts, q query width, d language width, K slots, V vocabulary.
Departures from the paper, of the concepts:
1. Rows of active concepts are gathered instead of multiplying the whole code with the codebook; both roads give the same tokens, and the
   dense road is kept for codes that are dense or that need a gradient of their own (interventions).
2. Rows may begin as the dictionary's own directions, rotated into the query space (study key `interface.model.rows`), so that tokens begin
   as what the dictionary reconstructs and concepts that lie close begin alike; how the paper draws them is not known.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcompass.joint.reading import Codes, Reading
from segcompass.sae.sparse_tokens import SparseTokens

SPARSE_SHARE = 0.25
"""Above this share of active concepts in a batch the dense product is used."""

Tokens = tuple[Tensor, Tensor, Tensor]
"""Tokens [N, T', q], which of them are read and which belong to the thought, bool [N, T']."""


def row_spread(features: int) -> float:
    """Standard deviation of a row's random entries."""
    return float(features**-0.25)


def direction_rows(directions: Tensor, width: int) -> Tensor:
    """Rows [F, q] as long as random ones: the dictionary's directions [F, d] under one random rotation, drawn from torch's seed."""
    rotation = nn.init.orthogonal_(torch.empty(directions.shape[1], width))
    rows = functional.normalize(directions.float(), dim=1) @ rotation
    return rows * (row_spread(len(rows)) * width**0.5 / rows.norm(dim=1).mean())


class ConceptTokens(nn.Module):
    """The paper's: one row a concept; a token is the sum of its active concepts' rows."""

    def __init__(self, features: int, width: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.rows = nn.Parameter(torch.randn(features, width) * row_spread(features))

    def forward(self, reading: Reading) -> Tokens:
        """Every token of every type."""
        return self.embed(reading.codes).view(*reading.token_types.shape, -1), reading.read, reading.thought

    def embed(self, codes: Codes) -> Tensor:
        """Sum of the rows of concepts whose absolute code reaches the threshold, weighted by the code: [.., F] -> [.., q]."""
        if isinstance(codes, SparseTokens):
            return self._gathered(codes.indices.long(), self._cut(codes.values), codes.offsets[:-1])
        active = self._cut(codes) != 0
        if codes.requires_grad or active.float().mean() > SPARSE_SHARE:
            return (codes * active) @ self.rows
        flat, kept = codes.flatten(0, -2), active.flatten(0, -2)
        counts = kept.sum(1)
        return self._gathered(kept.nonzero()[:, 1], flat[kept], counts.cumsum(0) - counts).view(*codes.shape[:-1], -1)

    def _cut(self, values: Tensor) -> Tensor:
        return torch.where(values.abs() >= self.threshold, values, 0.0) if self.threshold else values

    def _gathered(self, concepts: Tensor, values: Tensor, starts: Tensor) -> Tensor:
        return functional.embedding_bag(concepts, self.rows, starts, mode="sum", per_sample_weights=values)


class WordTokens(nn.Module):
    """Control `text_readout`: the words of the thought, in their order, and nothing else; what Seg-Zero hands on is text too."""

    def __init__(self, vocabulary: int, width: int, longest: int) -> None:
        """Embeddings of V ids and of `longest` places."""
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(longest, width)

    def forward(self, reading: Reading) -> Tokens:
        """The tokens of the thought."""
        thought = reading.thought
        place = (thought.long().cumsum(1) - 1).clamp(min=0, max=self.places.num_embeddings - 1)
        return self.words(reading.ids) + self.places(place), thought, thought


class ReferenceTokens(nn.Module):
    """Control `ref_only`: the reference states alone, through a perceptron with as many parameters as the codebook has rows."""

    def __init__(self, features: int, language_width: int, width: int) -> None:
        super().__init__()
        hidden = max(1, round((features * width - width) / (language_width + width + 1)))
        self.perceptron = nn.Sequential(nn.Linear(language_width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, reading: Reading) -> Tokens:
        """One token a slot."""
        tokens = self.perceptron(reading.reference_states)
        read = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return tokens, read, read
