"""Batches of joint training: prompts in a seeded order, their objects as low-resolution targets, SAM's embeddings kept between epochs.

The order depends on the seed alone, so every variant of a seed sees the same prompts in the same order.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segcompass.backbone.interface import Image, Segmenter
from segcompass.datasets.artefact import LearningData
from segcompass.datasets.masks import decode
from segcompass.datasets.samples import Sample
from segcompass.optimisation.processes import Processes

EMBEDDING_BYTES = 1 << 30
"""Bound on the memory of kept embeddings; the image seen longest ago goes first."""


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
    gold: list[str | None]
    """Gold thoughts, None where the data has none; no loss reads them."""


class TrainingPrompts:
    """The train splits of the joint benchmarks."""

    def __init__(
        self, data: LearningData, benchmarks: list[str], segmenter: Segmenter, seed: int, processes: Processes | None = None
    ) -> None:
        """`processes` None: this one alone."""
        self.data, self.segmenter, self.seed = data, segmenter, seed
        self.processes = processes or Processes()
        self.samples = [sample for benchmark in benchmarks for sample in data.samples(benchmark, "train")]
        self.gold = data.gold_thoughts("train")
        self._embeddings: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()

    def batch(self, step: int, size: int) -> Batch:
        """This process's share of the `size` prompts of one step."""
        samples = [self._at(step * size + index) for index in self.processes.share(size)]
        images = [self.data.image(sample) for sample in samples]
        embedded = [self._embedded(sample.image, image) for sample, image in zip(samples, images, strict=True)]
        targets = [self._targets(sample) for sample in samples]
        embeddings, valid = (torch.stack(parts) for parts in zip(*embedded, strict=True))
        return Batch(
            [sample.text for sample in samples], images, targets, embeddings, valid, [self.gold.get(one.sample_id) for one in samples]
        )

    def _at(self, position: int) -> Sample:
        epoch, index = divmod(position, len(self.samples))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.samples))
        return self.samples[order[index]]

    def _targets(self, sample: Sample) -> Tensor:
        if not sample.instances:
            return torch.zeros(0, self.segmenter.mask_side, self.segmenter.mask_side, device=self.segmenter.device)
        return torch.stack([self.segmenter.to_low_resolution(decode(rle)) for rle in sample.instances])

    def _embedded(self, name: str, image: Image) -> tuple[Tensor, Tensor]:
        if name not in self._embeddings:
            inputs = self.segmenter.inputs([image])
            entry = (self.segmenter.embed(inputs)[0], inputs.valid[0])
            self._embeddings[name] = entry
            if len(self._embeddings) * entry[0].numel() * entry[0].element_size() > EMBEDDING_BYTES:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(name)
        return self._embeddings[name]
