"""SAM's embeddings of images, each computed once: expressions share images, and embedding is most of what an image costs.

An image is known by its pixels. It is embedded alone, so its embedding does not depend on the images that happen to be asked for with it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from segcompass.backbone.interface import Image, Segmenter

EMBEDDING_BYTES = 1 << 30
"""Bound on the memory of kept embeddings; the image seen longest ago goes first."""


class Embeddings:
    """The image embeddings of one segmenter."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self._kept: OrderedDict[bytes, tuple[Tensor, Tensor]] = OrderedDict()

    def of(self, images: Sequence[Image]) -> tuple[Tensor, Tensor]:
        """Embeddings [B, C, g, g] and where they lie in the image, bool [B, m, m]."""
        embeddings, valid = zip(*map(self.one, images), strict=True)
        return torch.stack(embeddings), torch.stack(valid)

    def one(self, image: Image) -> tuple[Tensor, Tensor]:
        """Embedding [C, g, g] and where it lies in the image, bool [m, m]."""
        name = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        if name not in self._kept:
            inputs = self.segmenter.inputs([image])
            entry = (self.segmenter.embed(inputs)[0], inputs.valid[0])
            self._kept[name] = entry
            if len(self._kept) * entry[0].numel() * entry[0].element_size() > EMBEDDING_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return self._kept[name]
