"""What N answers show to an interface, whatever slots are made from.

Shape letters: N sequences, T tokens, F concepts, K slots, d language width.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from segcompass.backbone.token_types import OTHER, THOUGHT
from segcompass.sae.sparse_tokens import SparseTokens

Codes = Tensor | SparseTokens
"""Codes [N, T, F], or the same tokens, N * T of them, in sparse form."""


@dataclass(frozen=True)
class Policy:
    """What an interface must know of the policy whose answers it reads."""

    vocabulary: int
    """Number of token ids."""
    slots: int
    """Reference tokens of an answer."""
    longest: int
    """Tokens of the longest thought."""


@dataclass(frozen=True)
class Reading:
    """Codes, kinds and words of the tokens, and the reference states."""

    codes: Codes
    """Zero on tokens of no type."""
    token_types: Tensor
    """uint8 [N, T]; `OTHER` on padding and reference tokens."""
    ids: Tensor
    """int64 [N, T]."""
    reference_states: Tensor
    """[N, K, d]."""

    @property
    def read(self) -> Tensor:
        """bool [N, T]: the token is read."""
        return self.token_types != OTHER

    @property
    def thought(self) -> Tensor:
        """bool [N, T]: it belongs to the thought."""
        return self.token_types == THOUGHT

    def without_thought(self) -> "Reading":
        """The same answers as if nothing had been thought."""
        return replace(self, token_types=torch.where(self.thought, OTHER, self.token_types))


@dataclass(frozen=True)
class Shown:
    """What slots and their maps are made from, once readings have become tokens; q is the query width."""

    tokens: Tensor
    """[N, T', q]."""
    read: Tensor
    """bool [N, T']: the token is read."""
    thought: Tensor
    """bool [N, T']: it belongs to the thought."""
    references: Tensor
    """[N, K, d], centred."""
