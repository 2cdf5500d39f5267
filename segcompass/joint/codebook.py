"""The query codebook: what is read becomes K slots (paper section 2, step 4).

Shape letters: N sequences, T tokens, q query width, K slots.
Departure from the paper: 1. tokens of the prompt enter attention with a handicap. Without it the 80 tokens of the prompt, of which most are
visual, drown the dozen of the thought, and slots begin as the same constant for all of them: of two runs on an earlier embedded backbone
that differed in the handicap and in the number of heads, the one with it had a heat-map IoU of 0.26 after 240 steps, the one without 0.19.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcompass.joint.reading import Shown
from segcompass.joint.tokens import ConceptTokens, ReferenceTokens, WordTokens

PROMPT_LOGIT = -4.0
"""Added to the attention logits of tokens outside the thought, wherever there is a thought to read."""


def handicap(mask: Tensor, thought: Tensor) -> Tensor:
    """Logits [N, T] that tokens enter with, minus infinity where `mask` is false; `mask` and `thought` are bool [N, T]."""
    prompt = torch.where(thought.any(1, keepdim=True), PROMPT_LOGIT, 0.0)
    return torch.where(thought, 0.0, prompt).masked_fill(~mask, -torch.inf)


class QuerySlots(nn.Module):
    """Tokens [N, T, q] -> slots [N, K, q]: learned slot queries read the tokens through a transformer encoder."""

    def __init__(self, width: int, heads: int, layers: int, slots: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(slots, width) * 0.02)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(block, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, tokens: Tensor, mask: Tensor, thought: Tensor) -> Tensor:
        """Slots [N, K, q].

        Args:
            tokens: [N, T, q].
            mask: bool [N, T], true on tokens that are read.
            thought: bool [N, T], those of them that belong to the thought.
        """
        queries = self.queries.expand(len(tokens), -1, -1)
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


class PooledSlots(nn.Module):
    """Control `no_codebook`: slots are a multilayer perceptron of the mean token, about as many parameters as the encoder.

    The prompt's tokens weigh less in the mean by the same handicap, so that what is lost is attention alone.
    """

    def __init__(self, width: int, heads: int, layers: int, slots: int) -> None:
        del heads  # of the encoder that this replaces
        super().__init__()
        self.slots = slots
        # An encoder layer has 12 q^2 parameters but for biases and norms; the perceptron has (1 + K) q for each hidden unit.
        hidden = max(1, round(12 * layers * width / (1 + slots)))
        self.perceptron = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, slots * width))

    def forward(self, tokens: Tensor, mask: Tensor, thought: Tensor) -> Tensor:
        """Slots [N, K, q]; arguments as those of `QuerySlots`."""
        weights = handicap(mask, thought).softmax(1).nan_to_num()
        mean = (tokens * weights[..., None]).sum(1)
        return self.perceptron(mean).unflatten(-1, (self.slots, -1))


class Codebook(nn.Module):
    """Readings -> tokens, by `tokens`, -> slots [N, K, q]."""

    def __init__(self, tokens: ConceptTokens | WordTokens | ReferenceTokens, slots: QuerySlots | PooledSlots) -> None:
        super().__init__()
        self.tokens, self.slots = tokens, slots

    def forward(self, shown: Shown) -> Tensor:
        """Slots [N, K, q]."""
        slots: Tensor = self.slots(shown.tokens, shown.read, shown.thought)
        return slots
