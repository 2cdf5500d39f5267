"""Batches of joint training: prompts in a seeded order, their objects as low-resolution targets, SAM's embeddings of their images.

The order depends on the seed alone, so every variant of a seed sees the same prompts in the same order.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segcompass.backbone.interface import Image, Segmenter
from segcompass.datasets.artefact import data_root, manifest
from segcompass.datasets.files import read_image
from segcompass.datasets.masks import decode
from segcompass.datasets.samples import Sample, read_samples
from segcompass.joint.embeddings import Embeddings


@dataclass(frozen=True)
class Batch:
    """B prompts with what their masks are compared to."""

    texts: list[str]
    images: list[Image]
    targets: list[Tensor]
    """Per prompt [G, m, m], area fractions of its objects; G is 0 where there is no target."""
    embeddings: Tensor
    """[B, C, g, g]."""
    valid: Tensor
    """bool [B, m, m], false in the padding."""


class TrainingPrompts:
    """The train splits of the joint benchmarks."""

    def __init__(self, data: Path, benchmarks: list[str], segmenter: Segmenter, seed: int) -> None:
        self.root = data_root(data)
        self.segmenter, self.seed = segmenter, seed
        manifests = (manifest(data, benchmark, "train") for benchmark in benchmarks)
        self.samples = [sample for path in manifests for sample in read_samples(path)]
        self._embeddings = Embeddings(segmenter)

    def batch(self, step: int, size: int) -> Batch:
        """The prompts of one step."""
        samples = [self._at(step * size + index) for index in range(size)]
        images = [read_image(self.root / sample.image) for sample in samples]
        targets = [self._targets(sample) for sample in samples]
        return Batch([sample.text for sample in samples], images, targets, *self._embeddings.of(images))

    def _at(self, position: int) -> Sample:
        epoch, index = divmod(position, len(self.samples))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.samples))
        return self.samples[order[index]]

    def _targets(self, sample: Sample) -> Tensor:
        if not sample.instances:
            return torch.zeros(0, self.segmenter.mask_side, self.segmenter.mask_side, device=self.segmenter.device)
        return torch.stack([self.segmenter.to_low_resolution(decode(rle)) for rle in sample.instances])
