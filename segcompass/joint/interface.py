"""The concept interface: query codebook and slot mapper, the only trained parts between reasoning and SAM."""

from torch import Tensor, nn

from segcompass.joint.codebook import PooledCodebook, QueryCodebook
from segcompass.joint.mapper import SlotMapper
from segcompass.study.joint import InterfaceSettings


class ConceptInterface(nn.Module):
    """Codes, reference states and image embeddings -> heat maps and confidences."""

    def __init__(self, settings: InterfaceSettings, features: int, language_width: int, channels: int, slots: int) -> None:
        super().__init__()
        width = settings.query_width
        self.codebook: QueryCodebook | PooledCodebook | None = None
        if settings.slots:
            kind = QueryCodebook if settings.codebook == "queries" else PooledCodebook
            self.codebook = kind(features, width, settings.query_heads, settings.query_layers, slots, settings.threshold)
        roads = settings.slots, settings.reference_state
        self.mapper = SlotMapper(width, language_width, channels, settings.mapper_heads, slots, *roads, settings.mapper == "fused")

    def forward(self, codes: Tensor, mask: Tensor, reference_states: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Heat-map logits [N, K, m, m] and confidence logits [N, K]; shapes as in the two parts."""
        slots = None if self.codebook is None else self.codebook(codes, mask)
        heat, confidence = self.mapper(slots, reference_states, embeddings)
        return heat, confidence
