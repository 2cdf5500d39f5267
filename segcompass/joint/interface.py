"""The concept interface: query codebook and slot mapper, the only trained parts between reasoning and SAM."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from segcompass.joint.codebook import Codebook, PooledSlots, QuerySlots
from segcompass.joint.mapper import SlotMapper
from segcompass.joint.reading import Policy, Reading, Shown
from segcompass.joint.tokens import ConceptTokens, ReferenceTokens, WordTokens, direction_rows
from segcompass.joint.whitening import Centring
from segcompass.study.interface import ModelSettings


class ConceptInterface(nn.Module):
    """Readings and image embeddings -> heat maps and confidences."""

    def __init__(self, settings: ModelSettings, directions: Tensor, channels: int, policy: Policy) -> None:
        """An untrained interface.

        Args:
            settings: its keys.
            directions: the dictionary's, [F, d].
            channels: of the image embeddings.
            policy: whose answers it reads.
        """
        super().__init__()
        self.slots, width = settings.slots, settings.query_width
        features, language_width = directions.shape
        tokens: ConceptTokens | WordTokens | ReferenceTokens
        match settings.readout:
            case "concepts":
                tokens = ConceptTokens(features, width, settings.threshold)
                if settings.rows == "dictionary":
                    with torch.no_grad():
                        tokens.rows.copy_(direction_rows(directions, width))
            case "words":
                tokens = WordTokens(policy.vocabulary, width, policy.longest)
            case "references":
                tokens = ReferenceTokens(features, language_width, width)
        kind = QuerySlots if settings.codebook == "queries" else PooledSlots
        self.codebook = Codebook(tokens, kind(width, settings.query_heads, settings.query_layers, settings.slots))
        self.reference_centring = Centring(language_width)
        heads = settings.mapper_heads, settings.mapper_head_width
        fused = settings.mapper == "fused"
        self.mapper = SlotMapper(width, language_width, channels, *heads, settings.slots, settings.reference_state, fused)

    def forward(self, reading: Reading, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Heat-map logits [N, K, m, m] and confidence logits [N, K] from image embeddings [N, C, g, g]."""
        return self.maps(self.shown(reading), self.mapper.keys(embeddings))

    def shown(self, reading: Reading) -> Shown:
        """What slots and maps are made from."""
        references = self.reference_centring(reading.reference_states[:, : self.slots])
        tokens, read, thought = self.codebook.tokens(replace(reading, reference_states=references))
        return Shown(tokens, read, thought, references)

    def queries(self, shown: Shown) -> Tensor:
        """What the mapper's keys are asked, [N, K, H * c]."""
        return self.mapper.queries(self.codebook(shown), shown.references)

    def maps(self, shown: Shown, keys: Tensor, which: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Heat maps and confidences from the mapper's keys, of all slots or of the slot `which`, int64 [N], of each sequence alone."""
        return self.mapper.maps(self.codebook(shown), shown.references, keys, which)
