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


class Codebook(nn.Module):
    """Codes [.., F] -> token embeddings [.., q]: one row a concept."""

    def __init__(self, features: int, width: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.rows = nn.Parameter(torch.randn(features, width) / features**0.25)

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


class QueryCodebook(Codebook):
    """Codes [N, T, F] -> slots [N, K, q]: learned slot queries read the tokens through a transformer encoder."""

    def __init__(self, features: int, width: int, heads: int, layers: int, slots: int, threshold: float) -> None:
        super().__init__(features, width, threshold)
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


class PooledCodebook(Codebook):
    """Control `no_codebook`: slots are a multilayer perceptron of the mean token embedding, about as many parameters as the encoder."""

    def __init__(self, features: int, width: int, heads: int, layers: int, slots: int, threshold: float) -> None:
        del heads  # of the encoder that this replaces
        super().__init__(features, width, threshold)
        self.slots = slots
        # An encoder layer has 12 q^2 parameters but for biases and norms; the perceptron has (1 + K) q for each hidden unit.
        hidden = max(1, round(12 * layers * width / (1 + slots)))
        self.perceptron = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, slots * width))

    def forward(self, codes: Tensor, mask: Tensor) -> Tensor:
        """Slots [N, K, q]; arguments as those of `QueryCodebook`."""
        tokens = self.embed(codes) * mask[..., None]
        mean = tokens.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return self.perceptron(mean).unflatten(-1, (self.slots, -1))
