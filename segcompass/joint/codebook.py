"""The query codebook: concepts of all tokens become K slots (paper section 2, step 4).

Shape letters: N sequences, T tokens, F concepts, q query width, K slots.
Departure from the paper: 1. rows of active concepts are gathered instead of multiplying the whole code with the codebook; both roads give
the same slots, and the dense road is kept for codes that are dense or that need a gradient of their own (interventions).
2. Rows may begin as the dictionary's own directions, rotated into the query space (study key `interface.rows`), so that tokens begin as
what the dictionary reconstructs and concepts that lie close begin alike; how the paper draws them is not known.
3. Tokens of the prompt enter attention with a handicap. Without it the 80 tokens of the prompt, of which most are visual, drown the dozen
of the thought, and slots begin as the same constant for all of them: of two runs on an earlier embedded backbone that differed in the
handicap and in the number of heads, the one with it had a heat-map IoU of 0.26 after 240 steps, the one without 0.19.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

SPARSE_SHARE = 0.25
"""Above this share of active concepts in a batch the dense product is used."""


PROMPT_LOGIT = -4.0
"""Added to the attention logits of tokens outside the thought, wherever there is a thought to read."""


def handicap(mask: Tensor, thought: Tensor) -> Tensor:
    """Logits [N, T] that tokens enter with, minus infinity where `mask` is false; `mask` and `thought` are bool [N, T]."""
    prompt = torch.where(thought.any(1, keepdim=True), PROMPT_LOGIT, 0.0)
    return torch.where(thought, 0.0, prompt).masked_fill(~mask, -torch.inf)


def row_spread(features: int) -> float:
    """Standard deviation of a row's random entries."""
    return float(features**-0.25)


def direction_rows(directions: Tensor, width: int) -> Tensor:
    """Rows [F, q] as long as random ones: the dictionary's directions [F, d] under one random rotation, drawn from torch's seed."""
    rotation = nn.init.orthogonal_(torch.empty(directions.shape[1], width))
    rows = functional.normalize(directions.float(), dim=1) @ rotation
    return rows * (row_spread(len(rows)) * width**0.5 / rows.norm(dim=1).mean())


class Codebook(nn.Module):
    """Codes [.., F] -> token embeddings [.., q]: one row a concept."""

    def __init__(self, features: int, width: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.rows = nn.Parameter(torch.randn(features, width) * row_spread(features))

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

    def forward(self, codes: Tensor, mask: Tensor, thought: Tensor) -> Tensor:
        """Slots [N, K, q].

        Args:
            codes: [N, T, F].
            mask: bool [N, T], true on tokens that are read.
            thought: bool [N, T], those of them that belong to the thought.
        """
        tokens = self.embed(codes)
        queries = self.queries.expand(len(codes), -1, -1)
        logits = torch.cat([tokens.new_zeros(queries.shape[:2]), handicap(mask, thought)], 1)
        inner, last = self.encoder.layers[:-1], self.encoder.layers[-1]
        hidden = torch.cat([queries, tokens], 1)
        for layer in inner:
            hidden = layer(hidden, src_key_padding_mask=logits)
        # Of the last layer nothing but the slots is wanted, so only they ask and pass on.
        normed, slots = last.norm1(hidden), hidden[:, : queries.shape[1]]
        attended, _ = last.self_attn(normed[:, : queries.shape[1]], normed, normed, key_padding_mask=logits, need_weights=False)
        slots = slots + attended
        slots = slots + last.linear2(functional.gelu(last.linear1(last.norm2(slots))))
        assert self.encoder.norm is not None
        return self.encoder.norm(slots)


class PooledCodebook(Codebook):
    """Control `no_codebook`: slots are a multilayer perceptron of the mean token, about as many parameters as the encoder.

    The prompt's tokens weigh less in the mean by the same handicap, so that what is lost is attention alone.
    """

    def __init__(self, features: int, width: int, heads: int, layers: int, slots: int, threshold: float) -> None:
        del heads  # of the encoder that this replaces
        super().__init__(features, width, threshold)
        self.slots = slots
        # An encoder layer has 12 q^2 parameters but for biases and norms; the perceptron has (1 + K) q for each hidden unit.
        hidden = max(1, round(12 * layers * width / (1 + slots)))
        self.perceptron = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, slots * width))

    def forward(self, codes: Tensor, mask: Tensor, thought: Tensor) -> Tensor:
        """Slots [N, K, q]; arguments as those of `QueryCodebook`."""
        weights = handicap(mask, thought).softmax(1).nan_to_num()
        mean = (self.embed(codes) * weights[..., None]).sum(1)
        return self.perceptron(mean).unflatten(-1, (self.slots, -1))
