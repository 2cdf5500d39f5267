"""Whose codes a sample is given: other samples of its split, drawn from a seed, the same for every run of a study.

* `other_target`: an expression about the same image whose target has no pixel in common with the sample's.
* `same_target`: another expression about the same image with the same target.
* `other_image`: an expression about another image.
All donors have a target. A sample that has no donor of a kind has no measurement of that kind.
"""

from collections.abc import Sequence

import numpy as np

from segcompass.datasets.masks import decode
from segcompass.datasets.samples import Sample

KINDS = ("other_target", "same_target", "other_image")


class Donors:
    """Draws donors among the samples of a split that have a target."""

    def __init__(self, samples: Sequence[Sample], seed: int) -> None:
        self._samples, self._seed = list(samples), seed
        self._of_image: dict[str, list[Sample]] = {}
        for sample in samples:
            self._of_image.setdefault(sample.image, []).append(sample)
        self._numbers = {sample.sample_id: number for number, sample in enumerate(samples)}

    def of(self, sample: Sample, kind: str) -> Sample | None:
        """The sample's donor of one of `KINDS`; None where there is none."""
        found = self._candidates(sample, kind)
        draw = np.random.default_rng([self._seed, KINDS.index(kind), self._numbers[sample.sample_id]])
        return found[int(draw.integers(len(found)))] if found else None

    def _candidates(self, sample: Sample, kind: str) -> list[Sample]:
        if kind == "other_image":
            return [other for other in self._samples if other.image != sample.image]
        here = [other for other in self._of_image[sample.image] if other.sample_id != sample.sample_id]
        if kind == "same_target":
            return [other for other in here if other.target == sample.target and other.text != sample.text]
        target = decode(sample.target)
        return [other for other in here if not (decode(other.target) & target).any()]
