"""What an edit is judged by: the masks of slots that were fixed before it.

The slots are those that are confident before the edit, or the most confident one (`leading_of`); the mask is the union of theirs,
whatever becomes of their confidence. So an edit cannot change which maps are compared. Only these slots' maps and masks are made, and what
an image gives to them is computed once.

Shape letters: N samples, K slots, C embedding channels, g embedding side, m side of low-resolution maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segcompass.causal.watched import slot_score
from segcompass.joint.cached_images import CachedImages
from segcompass.joint.inference import leading_of
from segcompass.joint.model import InterfaceModel
from segcompass.joint.reading import Reading
from segcompass.numerics.finite import refuse_unfinite

REMEDY = "its run cannot predict; train it again with lower learning rates, or compute in float32"


@dataclass(frozen=True)
class Pictures:
    """What SAM sees of N samples."""

    embeddings: Tensor
    """[N, C, g, g]."""
    valid: Tensor
    """bool [N, m, m]."""
    sizes: list[tuple[int, int]]
    """Original (height, width)."""

    @classmethod
    def of(cls, images: CachedImages, names: Sequence[str], sizes: list[tuple[int, int]]) -> "Pictures":
        """Of images by name."""
        return cls(*images.of(names), sizes)


@dataclass(frozen=True)
class Response:
    """Of N samples."""

    masks: list[np.ndarray]
    """bool [height, width] each."""
    scores: np.ndarray
    """float [N], mean over the fixed slots of how far the heat map stands out inside its own mask (`slot_score`)."""
    slots: list[list[int]]
    """The fixed slots."""


class Responding:
    """An interface that is looked at before and after edits."""

    def __init__(self, model: InterfaceModel, threshold: float) -> None:
        """`threshold`: of the confidences that a prediction needs."""
        self.model, self.threshold = model, threshold
        self._keys: tuple[Pictures, Tensor] | None = None

    @torch.no_grad()
    def to(self, reading: Reading, pictures: Pictures, slots: list[list[int]] | None = None) -> Response:
        """Masks of N readings; without `slots` they are fixed here.

        Raises:
            InputError: a confidence or a mask is not finite.
        """
        interface, keys = self.model.interface, self._keys_of(pictures)
        shown = interface.shown(self.model.seen(reading))
        queries = interface.codebook(shown)
        if slots is None:
            _, confidence = interface.mapper.maps(queries, shown.references, keys)
            refuse_unfinite({"confidence": confidence}, None, REMEDY)
            slots = [leading_of(own, self.threshold) for own in confidence.sigmoid().double().cpu().numpy()]
        owners = torch.tensor([sample for sample, own in enumerate(slots) for _ in own], device=keys.device)
        which = torch.tensor([slot for own in slots for slot in own], device=keys.device)
        heat, _ = interface.mapper.maps(queries[owners], shown.references[owners], keys[owners], which)
        maps, valid = heat[:, 0], pictures.valid[owners]
        logits = self.model.masks(heat, pictures.embeddings[owners], valid)[:, 0]
        refuse_unfinite({"mask logits": logits}, None, REMEDY)
        scores = slot_score(maps, logits, valid).double().cpu().numpy()
        masks, means, start = [], [], 0
        for own, size in zip(slots, pictures.sizes, strict=True):
            part = slice(start, start + len(own))
            masks.append(np.asarray(self.model.segmenter.to_image(logits[part], size).any(0)))
            means.append(float(scores[part].mean()))
            start = part.stop
        return Response(masks, np.array(means), slots)

    def _keys_of(self, pictures: Pictures) -> Tensor:
        """The mapper's keys of some pictures, kept until others are asked for."""
        if self._keys is None or self._keys[0] is not pictures:
            self._keys = pictures, self.model.interface.mapper.keys(pictures.embeddings)
        return self._keys[1]
