"""The query codebook: concepts of all tokens become K slots (paper section 2, step 4).

Shape letters: N sequences, T tokens, F concepts, q query width, K slots.
Departure from the paper: 1. rows of active concepts are gathered instead of multiplying the whole code with the codebook; both roads give
the same slots, and the dense road is kept for codes that are dense or that need a gradient of their own (interventions).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

SPARSE_SHARE = 0.25
"""Above this share of active concepts in a batch the dense product is used."""


class QueryCodebook(nn.Module):
    """Codes [N, T, F] -> slots [N, K, q]."""

    def __init__(self, features: int, width: int, heads: int, layers: int, slots: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.rows = nn.Parameter(torch.randn(features, width) / features**0.25)
        self.queries = nn.Parameter(torch.randn(slots, width) * 0.02)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(block, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, codes: Tensor, mask: Tensor) -> Tensor:
        """Slots [N, K, q].

        Args:
            codes: [N, T, F].
            mask: bool [N, T], true on tokens that carry codes.
        """
        tokens = self.embed(codes)
        queries = self.queries.expand(len(codes), -1, -1)
        padding = torch.cat([mask.new_zeros(len(mask), queries.shape[1]), ~mask], 1)
        out = self.encoder(torch.cat([queries, tokens], 1), src_key_padding_mask=padding)
        return out[:, : queries.shape[1]]

    def embed(self, codes: Tensor) -> Tensor:
        """Sum of the rows of concepts whose absolute code reaches the threshold, weighted by the code: [.., F] -> [.., q]."""
        active = codes.abs() > self.threshold if self.threshold == 0 else codes.abs() >= self.threshold
        if codes.requires_grad or active.float().mean() > SPARSE_SHARE:
            return (codes * active) @ self.rows
        flat, kept = codes.flatten(0, -2), active.flatten(0, -2)
        counts = kept.sum(1)
        offsets = counts.cumsum(0) - counts
        indices = kept.nonzero()[:, 1]
        summed = functional.embedding_bag(indices, self.rows, offsets, mode="sum", per_sample_weights=flat[kept])
        return summed.view(*codes.shape[:-1], -1)
