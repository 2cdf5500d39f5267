"""Tokens of several answers, from which readings are laid out: what every exchange of codes between samples is made with.

A pool holds each token once; a layout names its tokens by their places. To take a block of another sample's tokens is to name other places,
to edit codes is to append edited tokens and to name those. An interface reads a bag of typed tokens (only the words of a thought have an
order, which a block keeps), so blocks of any length may stand beside each other. Left alone, the same layout gives the same reading to the
bit. Sparse codes stay sparse; dense ones, of dictionaries that are not sparse, are as large as the pool, so pools are kept small.

Shape letters: P tokens of the pool, N readings, T tokens of the longest, F concepts, d language width, K slots, B answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from segcompass.backbone.token_types import INSTRUCTION, OTHER, THOUGHT, VISUAL
from segcompass.joint.answer_codes import TRIED_ANSWERS
from segcompass.joint.cached_answers import AnswerBatch, CachedAnswers
from segcompass.joint.reading import Codes, Reading
from segcompass.joint.tokens import SPARSE_SHARE
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.sparse_tokens import SparseTokens

BLANK = 0
"""Place of the token that pads readings: of no type, without an active concept."""


class Blocks(NamedTuple):
    """Places of one answer's tokens by type, int64 each."""

    visual: Tensor
    instruction: Tensor
    thought: Tensor

    @property
    def layout(self) -> Tensor:
        """All of them."""
        return torch.cat(self)


@dataclass(frozen=True)
class TokenPool:
    """P tokens, the first of them blank."""

    codes: Codes
    """[P, F], or the same in sparse form."""
    token_types: Tensor
    """uint8 [P]."""
    ids: Tensor
    """int64 [P]."""

    def reading(self, layouts: Sequence[Tensor], reference_states: Tensor) -> Reading:
        """What N layouts show, left-padded, with reference states [N, K, d]."""
        places = pad_sequence(list(layouts), batch_first=True, padding_value=BLANK, padding_side="left")
        codes = self.codes.select(places.flatten()) if isinstance(self.codes, SparseTokens) else self.codes[places]
        return Reading(codes, self.token_types[places], self.ids[places], reference_states)

    def at(self, places: Tensor) -> Codes:
        """Codes of some tokens."""
        return tokens_of(self.codes, places)

    def with_tokens(self, codes: Codes, like: Tensor) -> tuple["TokenPool", Tensor]:
        """The pool with further tokens of given codes, of the types and words of those at `like`, int64 [n]; and their places [n]."""
        joined = joined_codes([self.codes, codes])
        types, ids = (torch.cat([kept, kept[like]]) for kept in (self.token_types, self.ids))
        places = torch.arange(len(self.ids), len(ids), device=ids.device)
        return replace(self, codes=joined, token_types=types, ids=ids), places


@dataclass(frozen=True)
class Answers:
    """B answers, token by token."""

    pool: TokenPool
    hidden: Tensor
    """[P, d], float32, at the hook; zero for the blank token."""
    blocks: list[Blocks]
    """Of each answer."""
    reference_states: Tensor
    """[B, K, d]."""


class Encoding:
    """Codes of a dictionary in one form: sparse, or dense where a share of the concepts above `SPARSE_SHARE` is active."""

    def __init__(self, dictionary: Dictionary, hidden: Tensor) -> None:
        """Judges the form by some hidden states [n, d]."""
        self.dictionary = dictionary
        tried = dictionary.encode_sparse(hidden)
        self.sparse = len(tried.values) < SPARSE_SHARE * len(tried) * tried.features

    @classmethod
    def of_cache(cls, dictionary: Dictionary, answers: CachedAnswers) -> "Encoding":
        """Judges by the first answers of a cache."""
        return cls(dictionary, torch.cat([answers.hidden(row) for row in range(min(TRIED_ANSWERS, len(answers)))]).to(answers.device))

    @torch.no_grad()
    def of(self, hidden: Tensor) -> Codes:
        """Codes of hidden states [n, d]."""
        return self.dictionary.encode_sparse(hidden) if self.sparse else self.dictionary.encode(hidden)

    def answers(self, batch: AnswerBatch) -> Answers:
        """The tokens of a batch of answers that have a type."""
        read = batch.token_types != OTHER
        hidden, types, ids = batch.hidden[read], batch.token_types[read], batch.ids[read]
        codes = self.of(hidden)
        hidden = torch.cat([hidden.new_zeros(1, hidden.shape[1]), hidden])
        pool = TokenPool(_behind_blank(codes), torch.cat([types.new_full((1,), OTHER), types]), torch.cat([ids.new_zeros(1), ids]))
        ends = 1 + read.sum(1).cumsum(0)
        blocks = []
        for start, end in zip([1, *ends[:-1].tolist()], ends.tolist(), strict=True):
            places = torch.arange(start, end, device=ids.device)
            blocks.append(Blocks(*(places[pool.token_types[places] == kind] for kind in (VISUAL, INSTRUCTION, THOUGHT))))
        return Answers(pool, hidden, blocks, batch.reference_states)


def tokens_of(codes: Codes, places: Tensor) -> Codes:
    """Codes of the tokens at `places` [n]."""
    return codes.select(places) if isinstance(codes, SparseTokens) else codes[places]


def joined_codes(parts: Sequence[Codes]) -> Codes:
    """Tokens one behind the other, all in one form."""
    sparse = [part for part in parts if isinstance(part, SparseTokens)]
    if len(sparse) == len(parts):
        return SparseTokens.concatenated(sparse)
    return torch.cat([part.dense() if isinstance(part, SparseTokens) else part for part in parts])


def _behind_blank(codes: Codes) -> Codes:
    """The tokens behind one without an active concept."""
    if not isinstance(codes, SparseTokens):
        return torch.cat([torch.zeros_like(codes[:1]), codes])
    return SparseTokens(codes.indices, codes.values, torch.cat([codes.offsets.new_zeros(1), codes.offsets]), codes.features)
