"""The slot mapper: a slot and its reference token's state become a heat map and a confidence (paper section 2, step 5).

Departures from the paper: 1. reference states are centred and image embeddings whitened (whitening.py). 2. A fresh heat map
claims a twentieth of the image, not half of it.
Shape letters: N sequences, K slots, q query width, d language width, C embedding channels, g embedding side, m = 4 g, H heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcompass.joint.whitening import Whitening

FOREGROUND_LOGIT = -3.0
"""Bias that a heat map begins with."""


class SlotMapper(nn.Module):
    """Slots [N, K, q], reference states [N, K, d] and image embeddings [N, C, g, g] -> heat maps and confidences.

    Args:
        query_width: q.
        language_width: d.
        channels: C.
        heads: H.
        head_width: channels of each head.
        slots: K.
        reference_road: feed the reference states; else a learnt constant stands in for them.
        fuse_heads: fuse the heads' dot products by convolutions, as the paper does; else add them up.
    """

    def __init__(
        self,
        query_width: int,
        language_width: int,
        channels: int,
        heads: int,
        head_width: int,
        slots: int,
        reference_road: bool,
        fuse_heads: bool,
    ) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.embedding_whitening = Whitening(channels)
        self.slot = nn.Linear(query_width, language_width)
        self.fuse = nn.Sequential(nn.LayerNorm(2 * language_width), nn.Linear(2 * language_width, heads * self.head_width), nn.SiLU())
        self.image = nn.Conv2d(channels, heads * self.head_width, 1)
        last = nn.Conv2d(4 * heads, 1, 3, padding=1)
        nn.init.constant_(last.bias, FOREGROUND_LOGIT)  # type: ignore[arg-type]
        self.heat = nn.Sequential(nn.Conv2d(heads, 4 * heads, 3, padding=1), nn.GELU(), last) if fuse_heads else _Sum()
        self.confidence = nn.Sequential(nn.Linear(heads * self.head_width, 64), nn.SiLU(), nn.Linear(64, 1))
        self.reference_constant = None if reference_road else nn.Parameter(torch.randn(slots, language_width) * 0.02)

    def forward(self, slots: Tensor, reference_states: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Heat-map logits [N, K, m, m] and confidence logits [N, K]; reference states come centred."""
        return self.maps(slots, reference_states, self.keys(embeddings))

    def keys(self, embeddings: Tensor) -> Tensor:
        """What the queries meet: [N, H, c, g, g], c channels a head, of image embeddings [N, C, g, g]."""
        whitened = self.embedding_whitening(embeddings.movedim(1, -1)).movedim(-1, 1)
        return self.image(whitened).unflatten(1, (self.heads, self.head_width))

    def maps(self, slots: Tensor, reference_states: Tensor, keys: Tensor, which: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same from keys that are known, of all slots or of one of each sequence alone (K = 1): the slot `which`, int64 [N]."""
        queries = self.queries(slots, reference_states)
        if which is not None:
            queries = queries[torch.arange(len(queries), device=queries.device), which][:, None]
        return self.heat_maps(queries, keys), self.confidences(queries)

    def queries(self, slots: Tensor, reference_states: Tensor) -> Tensor:
        """What meets the keys: [N, K, H * c]."""
        if self.reference_constant is not None:
            reference_states = self.reference_constant.expand(len(slots), -1, -1)
        queries: Tensor = self.fuse(torch.cat([self.slot(slots), reference_states], -1))
        return queries

    def heat_maps(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Heat-map logits [N, k, m, m] of any queries [N, k, H * c] and the keys of their images."""
        heads = queries.unflatten(-1, (self.heads, self.head_width))
        scores = torch.einsum("nkhc,nhcyx->nkhyx", heads, keys) / self.head_width**0.5
        # Of many small pictures convolutions take half the time with the channels last.
        heat = self.heat(scores.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        return _enlarged(heat[:, 0]).unflatten(0, queries.shape[:2])

    def confidences(self, queries: Tensor) -> Tensor:
        """Confidence logits [N, K] of queries [N, K, H * c]."""
        logits: Tensor = self.confidence(queries)[..., 0]
        return logits


def _enlarged(maps: Tensor) -> Tensor:
    """Bilinear enlargement by 4, [n, g, g] -> [n, m, m], as two matrix products: a tenth of the time of `interpolate` and its gradient."""
    identity = torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    weights = functional.interpolate(identity[None], scale_factor=4, mode="linear", align_corners=False)[0]
    return weights.T @ maps @ weights


class _Sum(nn.Module):
    """Adds up the heads [n, H, g, g] -> [n, 1, g, g]."""

    def forward(self, scores: Tensor) -> Tensor:
        return scores.sum(1, keepdim=True)
