"""Watching a run on val while it trains, and the rule that chooses its final weights (keys `joint.validation` and `joint.checkpoint`).

The samples are the same at every pass, for every variant and every seed, and are predicted greedily as in evaluation.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from segcompass.datasets.artefact import LearningData
from segcompass.datasets.samples import Sample
from segcompass.joint.inference import Predictor
from segcompass.joint.scores import headline_score
from segcompass.optimisation.processes import Processes
from segcompass.study.joint import ValidationSettings
from segcompass.world.thoughts import is_considered, thought_is_right

Row = dict[str, Any]
MEASURES = ("gIoU", "thought_accuracy", "considered", "valid_answers", "N-acc")


def spread_samples(data: LearningData, benchmarks: list[str], count: int, seed: int) -> list[tuple[str, Sample]]:
    """At most `count` samples of val with their benchmark: as many of each as of any other, a seeded choice in the manifest's order."""
    found = []
    for index, benchmark in enumerate(benchmarks):
        samples = data.samples(benchmark, "val")
        wanted = count * (index + 1) // len(benchmarks) - count * index // len(benchmarks)
        order = np.random.default_rng([seed, index]).permutation(len(samples))[:wanted]
        found += [(benchmark, samples[place]) for place in sorted(order)]
    return found


class Validation:
    """Predicts the samples with the model as it stands, `batch` at a time, and adds up what came of them."""

    def __init__(
        self,
        data: LearningData,
        benchmarks: list[str],
        settings: ValidationSettings,
        predictor: Predictor,
        batch: int,
        processes: Processes,
    ) -> None:
        self.data, self.predictor, self.processes = data, predictor, processes
        samples = spread_samples(data, benchmarks, settings.samples, settings.seed)
        self.batches = [samples[start : start + batch] for start in range(0, len(samples), batch)]
        self.gold = data.gold_thoughts("val")

    def row(self, step: int) -> Row:
        """The row of `validation.csv` after `step` steps; a measure that no sample counts for is blank."""
        terms = np.zeros((2, len(MEASURES)))
        for number, counted in self.processes.dealt(len(self.batches)):
            terms += counted * self._terms(self.batches[number])
        device = self.predictor.model.vlm.device
        sums, counts = self.processes.total(torch.from_numpy(terms).to(device)).tolist()
        return {"step": step} | {name: total / count if count else "" for name, total, count in zip(MEASURES, sums, counts, strict=True)}

    @torch.no_grad()
    def _terms(self, batch: list[tuple[str, Sample]]) -> np.ndarray:
        """Sum and count [2, 5] of each measure over some samples."""
        thoughts = self.predictor.think([self.data.image(sample) for _, sample in batch], [sample.text for _, sample in batch])
        terms = np.zeros((2, len(MEASURES)))
        for index, prediction in enumerate(self.predictor.predictions(thoughts, self.predictor.decide(thoughts))):
            benchmark, sample = batch[index]
            gold = self.gold.get(sample.sample_id)
            right = gold is not None and thought_is_right(thoughts.texts[index], gold)
            rejected = sample.no_target and prediction.no_target
            considered = gold is not None and is_considered(thoughts.texts[index])
            terms[0] += [headline_score(benchmark, sample, prediction).iou, right, considered, prediction.status == "ok", rejected]
            terms[1] += [1, gold is not None, gold is not None, 1, sample.no_target]
        return terms


class KeptWeights:
    """The weights that a run ends with, of some trained parameters: those of the last step or of the best validation."""

    def __init__(self, rule: Literal["last", "best_on_val"], trained: Mapping[str, Tensor]) -> None:
        self.trained = trained
        self.step = 0
        """Steps done when the weights to keep were there."""
        self.score = -1.0
        self._kept = {name: value.detach().clone() for name, value in trained.items()} if rule == "best_on_val" else {}

    def tensors(self) -> dict[str, Tensor]:
        """Copies of the best weights so far, for a resume point; none where the last ones are kept."""
        return {f"kept.{name}": value for name, value in self._kept.items()}

    @torch.no_grad()
    def consider(self, step: int, score: float) -> None:
        """Keeps the weights as they stand after `step` steps if the rule says so; of equal scores the earlier is kept."""
        if self._kept and score <= self.score:
            return
        self.step, self.score = step, score
        for name, value in self._kept.items():
            value.copy_(self.trained[name])

    @torch.no_grad()
    def restore(self) -> None:
        """Gives the parameters the weights that were kept."""
        for name, value in self._kept.items():
            self.trained[name].copy_(value)
