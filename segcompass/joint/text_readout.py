"""Control `text_readout`: what the thought says in words becomes a box that prompts SAM, and no concept is read (what Seg-Zero does).

The thought's described targets, in their order, take the slots; each slot's heat map is the cell of the 3 x 3 places that its words name.
A thought that the grammar cannot read, or that names nothing, leaves every slot without confidence. Nothing here is trained.

Shape letters: N sequences, K slots, m side of low-resolution maps.
"""

import torch
from torch import Tensor, nn

from segcompass.backbone.interface import HookStates, VisionLanguageModel
from segcompass.world.lexicon import PLACES
from segcompass.world.thoughts import thought_targets

BOX_LOGIT = 8.0
"""Heat-map logit inside a box, and minus it outside."""
SURE_LOGIT = 8.0
"""Confidence logit of a slot that a target was described for, and minus it of the others."""


class TextReadout(nn.Module):
    """Thoughts in words -> heat maps and confidences."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots

    def forward(self, vlm: VisionLanguageModel, states: HookStates, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Heat-map logits [N, K, m, m] and confidence logits [N, K]; `valid`, bool [N, m, m], is the images' part of the maps."""
        heat = torch.full((len(valid), self.slots, *valid.shape[1:]), -BOX_LOGIT, device=valid.device)
        confidence = torch.full(heat.shape[:2], -SURE_LOGIT, device=valid.device)
        for index, (ids, mask) in enumerate(zip(states.ids, states.mask, strict=True)):
            answer = ids[states.prompt_length :][mask[states.prompt_length :]]
            for slot, described in enumerate((thought_targets(vlm.text(answer)) or [])[: self.slots]):
                rows, columns = place_extent(described[-1], valid[index])
                heat[index, slot, rows, columns] = BOX_LOGIT
                confidence[index, slot] = SURE_LOGIT
        return heat, confidence


def place_extent(place: str, valid: Tensor) -> tuple[slice, slice]:
    """Rows and columns of a low-resolution map, bool [m, m], that a place word names."""
    down, across = divmod(PLACES.index(place), 3)
    height, width = int(valid.any(1).sum()), int(valid.any(0).sum())
    return slice(down * height // 3, (down + 1) * height // 3), slice(across * width // 3, (across + 1) * width // 3)
