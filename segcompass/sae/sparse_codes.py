"""Products with sparse codes: in training, the encoder's forward product is the only dense one left.

Codes of T tokens have a few non-zeros among F concepts, so decoding and both weight gradients are sums of a few rows. Let Z [T, F] be the
codes, G [T, F] the loss's gradient with respect to the active pre-activations (same places as Z), R the gradient [T, d] with respect to the
reconstruction:
    decode            Z W_dec            rows of W_dec, summed by token
    gradient of W_dec Z' R               rows of R, summed by concept
    gradient of codes (R W_dec') at Z's places
    gradient of W_enc G' x               rows of x, summed by concept
Every sum is one of `row_sums.py`. The two sums by concept share one sort of the places.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from segcompass.sae.row_sums import weighted_sums

BLOCK_TOKENS = 512
"""Tokens whose pre-activations exist at one time; [512, F] stays near the processor, [T, F] does not."""


class Places:
    """Where codes [T, F] are non-zero, by token: concepts `concepts[starts[t]:starts[t + 1]]` are active on token t."""

    def __init__(self, concepts: Tensor, counts: Tensor, features: int) -> None:
        self.concepts = concepts
        """int64 [n]."""
        self.counts = counts
        """int64 [T], active concepts of each token."""
        self.features = features
        """F."""
        self.starts = counts.cumsum(0) - counts
        """int64 [T]."""

    @cached_property
    def tokens(self) -> Tensor:
        """Token of each place, int64 [n]."""
        return torch.repeat_interleave(self.counts)

    @cached_property
    def uses(self) -> Tensor:
        """Tokens on which each concept is active, int64 [F]."""
        return torch.bincount(self.concepts, minlength=self.features)

    @cached_property
    def by_concept(self) -> tuple[Tensor, Tensor, Tensor]:
        """Order that sorts the places by concept [n], their tokens in that order [n], first place of each concept [F]."""
        order = torch.sort(self.concepts.int(), stable=True).indices
        return order, self.tokens[order], self.uses.cumsum(0) - self.uses

    def dense(self, values: Tensor) -> Tensor:
        """Codes [T, F] of values [n]."""
        codes = values.new_zeros(len(self.counts), self.features)
        codes[self.tokens, self.concepts] = values
        return codes


Choose = Callable[[Tensor], Tensor]
"""Pre-activations [t, F] of a block of tokens -> the places to keep in the flattened block, int64 [n], by ascending token."""


def encode_sparse(x: Tensor, encoder: Tensor, bias: Tensor, choose: Choose) -> tuple[Tensor, Places]:
    """Pre-activations, at the places that `choose` keeps, of tokens x [T, d] under encoder rows [F, d] and bias [F].

    Returns:
        (values [n], places). Gradients reach encoder and bias, not x, which is a constant in training.
    """
    values, places = _kept(x, encoder, bias, choose)
    return _Encode.apply(encoder, bias, x, values, places), places


def decode_sparse(values: Tensor, places: Places, decoder: Tensor) -> Tensor:
    """Sums [T, d] of decoder rows [F, d], weighted by codes `values` [n] at `places`."""
    return _Decode.apply(values, decoder, places)


@torch.no_grad()
def _kept(x: Tensor, encoder: Tensor, bias: Tensor, choose: Choose) -> tuple[Tensor, Places]:
    buffer = x.new_empty(min(BLOCK_TOKENS, len(x)), len(encoder))
    values, concepts, counts = [], [], []
    for block in x.split(BLOCK_TOKENS):
        before = torch.addmm(bias, block, encoder.T, out=buffer[: len(block)])
        kept = choose(before)
        values.append(before.take(kept))
        concepts.append(kept % len(encoder))
        counts.append(torch.bincount(kept // len(encoder), minlength=len(block)))
    return torch.cat(values), Places(torch.cat(concepts), torch.cat(counts), len(encoder))


class _Encode(torch.autograd.Function):
    """The pre-activations that were found, and their gradients."""

    @staticmethod
    def forward(ctx: Any, encoder: Tensor, bias: Tensor, x: Tensor, values: Tensor, places: Places) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(x)
        ctx.places = places
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        order, _, _ = ctx.places.by_concept
        sorted_gradient = gradients[0][order]
        by_concept = torch.zeros_like(ctx.places.uses, dtype=x.dtype).index_add_(0, ctx.places.concepts, gradients[0])
        return _summed_by_concept(ctx.places, sorted_gradient, x), by_concept, None, None, None


class _Decode(torch.autograd.Function):
    """Z W_dec and its two gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, decoder: Tensor, places: Places) -> Tensor:
        ctx.save_for_backward(values, decoder)
        ctx.places = places
        return weighted_sums(decoder, places.concepts, places.starts, values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        values, decoder = ctx.saved_tensors
        places, gradient = ctx.places, gradients[0].contiguous()
        # The kernel behind embedding_bag's own gradient: one dot product a place, nothing of size [n, d] in memory.
        of_values = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            gradient, decoder, places.concepts, places.starts, places.tokens, 0
        )
        if not ctx.needs_input_grad[1]:  # a frozen decoder
            return of_values, None, None
        return of_values, _summed_by_concept(places, values[places.by_concept[0]], gradient), None


def _summed_by_concept(places: Places, weights: Tensor, rows: Tensor) -> Tensor:
    """For each concept the sum [F, d] of rows [T, d] of the tokens on which it is active, weighted [n] in the order by concept."""
    _, tokens, starts = places.by_concept
    return weighted_sums(rows, tokens, starts, weights)
