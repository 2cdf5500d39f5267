"""Samples by name, with their cached answers and pictures: what exchanges take apart.

Answers keep their words. Those of counterfactual pairs have gold thoughts (stage `cache_answers`).
"""

from collections.abc import Sequence

import torch

from segcompass.causal.response import Pictures
from segcompass.causal.token_pool import Answers, Encoding
from segcompass.datasets.samples import Sample
from segcompass.joint.cached_answers import CachedAnswers
from segcompass.joint.cached_images import CachedImages

Place = tuple[str, str, str]
"""Benchmark, split, sample id."""

COPIES = 4
"""Times that codes of a chunk are held at once in dense form: the pool, the pool with edited tokens, the edited tokens, a reading."""


class CachedRuns:
    """Answers and pictures of a study, read for one interface."""

    def __init__(self, answers: CachedAnswers, images: CachedImages, encoding: Encoding) -> None:
        self._answers, self._images, self._encoding = answers, images, encoding
        self._rows = {(owner.benchmark, owner.split, owner.sample_id): row for row, owner in enumerate(answers.owners)}
        self._longest = int(max(answers.starts[1:] - answers.starts[:-1]))

    def answers(self, places: Sequence[Place]) -> Answers:
        """The answers to some samples.

        Raises:
            KeyError: a sample was not answered.
        """
        return self._encoding.answers(self._answers.batch([self._rows[place] for place in places]))

    def pictures(self, samples: Sequence[Sample]) -> Pictures:
        """The samples' images."""
        return Pictures.of(self._images, [sample.image for sample in samples], [(sample.height, sample.width) for sample in samples])

    def chunk(self, batch: int, answers: int, memory_mb: int) -> int:
        """How many samples are edited at a time: `batch`, or fewer where dense codes of theirs would take more than `memory_mb`.

        Args:
            batch: the most.
            answers: answers that are held for each of them.
            memory_mb: of codes in dense form; one sample at least is edited, whatever it takes.
        """
        dictionary = self._encoding.dictionary
        each = COPIES * answers * self._longest * dictionary.features * torch.finfo(torch.float32).bits // 8
        return batch if self._encoding.sparse else max(1, min(batch, memory_mb * 2**20 // each))
