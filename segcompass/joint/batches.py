"""Batches of joint training: prompts in a seeded order, their objects as low-resolution targets, SAM's embeddings of their images.

The order depends on the seed alone, so every variant of a seed sees the same prompts in the same order. SAM's encoder is frozen: images of
the training prompts were embedded once for all runs of a study.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from segcompass.backbone.interface import Image, Segmenter
from segcompass.datasets.artefact import LearningData
from segcompass.datasets.masks import decode
from segcompass.datasets.samples import Sample
from segcompass.joint.cached_images import CachedImages
from segcompass.joint.embeddings import Embeddings
from segcompass.optimisation.order import EpochOrder
from segcompass.optimisation.processes import Processes


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


class PromptOrder:
    """Samples of the train splits of some benchmarks, in an order that the seed alone decides."""

    def __init__(self, samples: list[tuple[str, Sample]], seed: int) -> None:
        self.samples = samples
        """(benchmark, sample), in the order of the manifests."""
        self._order = EpochOrder(len(samples), seed)

    def first(self, count: int) -> list[tuple[str, Sample]]:
        """The first `count` of them, or all where there are fewer."""
        return [self.samples[self._order.at(position)] for position in range(min(count, len(self.samples)))]


def training_prompts(data: LearningData, benchmarks: list[str], seed: int) -> PromptOrder:
    """The train splits of the benchmarks."""
    return PromptOrder([(benchmark, sample) for benchmark in benchmarks for sample in data.samples(benchmark, "train")], seed)


def low_resolution_targets(segmenter: Segmenter, sample: Sample) -> Tensor:
    """Area fractions [G, m, m] of a sample's objects."""
    if not sample.instances:
        return torch.zeros(0, segmenter.mask_side, segmenter.mask_side, device=segmenter.device)
    return torch.stack([segmenter.to_low_resolution(decode(rle)) for rle in sample.instances])


class TrainingPrompts:
    """The prompts of one run of joint training: a pool that it goes through again and again, shuffled anew each time."""

    def __init__(
        self,
        data: LearningData,
        prompts: PromptOrder,
        pool: int,
        segmenter: Segmenter,
        seed: int,
        processes: Processes | None = None,
        cached: CachedImages | None = None,
    ) -> None:
        """`pool`: different prompts; `processes` None: this one alone; `cached` None: every image is embedded here."""
        self.data, self.segmenter, self.cached = data, segmenter, cached
        self.processes = processes or Processes()
        self.samples = [sample for _, sample in prompts.first(pool)]
        self.gold = data.gold_thoughts("train")
        self._order = EpochOrder(len(self.samples), seed)
        self._embeddings = Embeddings(segmenter)

    def batch(self, step: int, size: int) -> Batch:
        """This process's share of the `size` prompts of one step."""
        samples = [self.samples[self._order.at(step * size + index)] for index in self.processes.share(size)]
        images = [self.data.image(sample) for sample in samples]
        targets = [low_resolution_targets(self.segmenter, sample) for sample in samples]
        gold = [self.gold.get(sample.sample_id) for sample in samples]
        embeddings, valid = zip(*map(self._embedded, samples, images), strict=True)
        return Batch([sample.text for sample in samples], images, targets, torch.stack(embeddings), torch.stack(valid), gold)

    def _embedded(self, sample: Sample, image: Image) -> tuple[Tensor, Tensor]:
        """Embedding [C, g, g] of a sample's image and where it lies in its maps, bool [m, m]."""
        if self.cached is None or sample.image not in self.cached:
            return self._embeddings.one(image)
        embeddings, valid = self.cached.of([sample.image])
        return embeddings[0], valid[0]
