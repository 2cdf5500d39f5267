"""What responds to an edit: the slots that are compared, fixed before it, their scores and their masks.

Each row is one slot of one sample, so that what is edited can be chosen for the slot: a sample with two leading slots has two rows, each
with tokens of its own. A row's score says how far its heat map stands out inside the mask that it had before the edit; no truth is used.

Shape letters: n samples, R rows, K slots, m side of low-resolution maps, C channels and g side of image embeddings.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segcompass.joint.model import InterfaceModel
from segcompass.joint.reading import Shown


def slot_score(maps: Tensor, mask_logits: Tensor, valid: Tensor) -> Tensor:
    """How far a map stands out inside a mask: mean logit inside minus mean logit outside, per slot [n].

    A slot whose mask is empty, or fills the image, scores its mean logit outside, with its sign changed, or inside alone.

    Args:
        maps: logits [n, m, m].
        mask_logits: [n, m, m], of the mask.
        valid: bool [n, m, m] or [m, m], where the image lies.
    """
    inside = (mask_logits > 0) & valid
    outside = ~inside & valid
    return _mean(maps, inside) - _mean(maps, outside)


class Watched:
    """Fixed slots of some samples with all that their maps need but what is shown to them."""

    def __init__(self, model: InterfaceModel, embeddings: Tensor, valid: Tensor, sizes: Sequence[tuple[int, int]]) -> None:
        """Watches nothing yet.

        Args:
            model: the interface, frozen.
            embeddings: [n, C, g, g].
            valid: bool [n, m, m].
            sizes: original (height, width) of each image.
        """
        self.model, self._embeddings, self._valid, self.sizes = model, embeddings, valid, sizes
        with torch.no_grad():
            self._keys = model.interface.mapper.keys(embeddings)

    @torch.no_grad()
    def confidences(self, shown: Shown) -> np.ndarray:
        """Confidence probabilities [n, K] of what is shown of each sample."""
        return self.model.interface.maps(shown, self._keys)[1].sigmoid().double().cpu().numpy()

    @torch.no_grad()
    def fix(self, slots: Sequence[Sequence[int]], shown: Shown) -> Shown:
        """Fixes the slots of each sample, and the masks that they have before any edit.

        Returns:
            What is shown of each row, from what is shown of each sample.
        """
        device = self._valid.device
        self.owner = torch.tensor([sample for sample, own in enumerate(slots) for _ in own], device=device)
        """Sample of each row, int64 [R]."""
        self.slot = torch.tensor([slot for own in slots for slot in own], device=device)
        """int64 [R]."""
        self.keys, self.embeddings, self.valid = self._keys[self.owner], self._embeddings[self.owner], self._valid[self.owner]
        rows = Shown(shown.tokens[self.owner], shown.read[self.owner], shown.thought[self.owner], shown.references[self.owner])
        self.before = self.mask_logits(self.heat(rows))
        """Mask logits [R, m, m] before any edit."""
        return rows

    def heat(self, shown: Shown) -> Tensor:
        """Heat-map logits [R, m, m] of what is shown of each row."""
        return self.model.interface.maps(shown, self.keys, self.slot)[0][:, 0]

    def mask_logits(self, heat: Tensor) -> Tensor:
        """Mask logits [R, m, m] of heat-map logits [R, m, m]."""
        return self.model.masks(heat[:, None], self.embeddings, self.valid)[:, 0]

    def score(self, maps: Tensor) -> Tensor:
        """Score [R] of heat-map or mask logits [R, m, m], by the masks before the edit."""
        return slot_score(maps, self.before, self.valid)

    def of_samples(self, values: Tensor) -> np.ndarray:
        """Means [n] over each sample's rows of values [R]."""
        owner = self.owner.cpu().numpy()
        return np.bincount(owner, values.detach().double().cpu().numpy(), len(self.sizes)) / np.bincount(owner, minlength=len(self.sizes))

    def greatest(self, values: Tensor) -> np.ndarray:
        """Greatest [n] over each sample's rows of values [R], 0 and above."""
        found = np.zeros(len(self.sizes))
        np.maximum.at(found, self.owner.cpu().numpy(), values.detach().double().cpu().numpy())
        return found

    def unions(self, mask_logits: Tensor) -> list[np.ndarray]:
        """Of each sample the union of its rows' masks, bool [height, width] of the original image."""
        return [
            np.asarray(self.model.segmenter.to_image(mask_logits[self.owner == sample].detach(), size).any(0))
            for sample, size in enumerate(self.sizes)
        ]


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum((1, 2)) / where.sum((1, 2)).clamp(min=1)
