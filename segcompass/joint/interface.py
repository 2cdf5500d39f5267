"""The concept interface: query codebook and slot mapper, the only trained parts between reasoning and SAM."""

import torch
from torch import Tensor, nn

from segcompass.joint.codebook import PooledCodebook, QueryCodebook, direction_rows
from segcompass.joint.mapper import SlotMapper
from segcompass.study.joint import InterfaceSettings


class ConceptInterface(nn.Module):
    """Codes, reference states and image embeddings -> heat maps and confidences."""

    def __init__(self, settings: InterfaceSettings, directions: Tensor, channels: int, slots: int) -> None:
        """An untrained interface to a dictionary with directions [F, d] and image embeddings of `channels` channels."""
        super().__init__()
        width = settings.query_width
        features, language_width = directions.shape
        self.codebook: QueryCodebook | PooledCodebook | None = None
        if settings.slots:
            kind = QueryCodebook if settings.codebook == "queries" else PooledCodebook
            self.codebook = kind(features, width, settings.query_heads, settings.query_layers, slots, settings.threshold)
            if settings.rows == "dictionary":
                with torch.no_grad():
                    self.codebook.rows.copy_(direction_rows(directions, width))
        roads = settings.slots, settings.reference_state
        heads = settings.mapper_heads, settings.mapper_head_width
        self.mapper = SlotMapper(width, language_width, channels, *heads, slots, *roads, settings.mapper == "fused")

    def forward(self, codes: Tensor, mask: Tensor, thought: Tensor, reference_states: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Heat-map logits [N, K, m, m] and confidence logits [N, K]; shapes as in the two parts."""
        slots = None if self.codebook is None else self.codebook(codes, mask, thought)
        heat, confidence = self.mapper(slots, reference_states, embeddings)
        return heat, confidence
