"""Warm start: the policy learns the form of an answer, `<think> … </think>` and K reference tokens, from supervised answers.

A pretrained model meets the form by luck, and an answer without it earns nothing: joint training would have no reward to learn from.
Departures from the paper, which does not say how its policy comes to answer in form:
1. There is this stage. Its answers are in the form of backbone/prompt.py, their thoughts those of warm_start/thoughts.py; the loss is the
   cross-entropy of the answers' tokens, a mean over all of a step.
2. It trains what joint training trains of the policy: blocks above the hook, final norm and head. Everything below, the embedding matrix
   with the rows of new tokens included, stays as it is, so that hidden states at the hook are those of the checkpoint. The frozen rows of
   the new tokens differ from each other (backbone/vocabulary.py), which is all that the blocks above need to tell them apart.
3. Trained weights are rounded to the study's dtype before the form is judged, because that is how they are stored and loaded.

Several processes share the prompts of every step and divide the weights as in joint training (joint/trainer.py).
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from segcompass.backbone.prompt import STATUSES, canonical
from segcompass.backbone.split import SplitModel
from segcompass.datasets.artefact import LearningData
from segcompass.datasets.samples import Sample
from segcompass.errors import InputError
from segcompass.joint.batches import training_prompts
from segcompass.joint.rollouts import supervised_loss, well_formed
from segcompass.joint.validation import spread_samples
from segcompass.numerics.finite import check_step
from segcompass.optimisation.division import forget_passes, gathered, whole
from segcompass.optimisation.order import EpochOrder
from segcompass.optimisation.processes import Processes
from segcompass.optimisation.schedule import rate_factor
from segcompass.optimisation.streamed_resume import StreamedResumePoint
from segcompass.study.backbone import AnswerSettings
from segcompass.study.warm_start import WarmStartSettings
from segcompass.warm_start.thoughts import phrase_thought

Shares = dict[str, float]
"""Benchmark -> share of held-out answers that keep the form; `all` of all of them."""


@dataclass(frozen=True)
class WarmStartRecord:
    """What a run leaves behind beside the weights."""

    curve: list[dict[str, Any]]
    """One row a step: step, cross-entropy a token in nats, norm of the gradient before clipping."""
    before: Shares
    after: Shares
    statuses: dict[str, int]
    """How the held-out answers keep or break the form afterwards, and how many do."""
    seconds: float
    """Wall time of the steps, over all runs that it took."""


class WarmStart:
    """One run, whose prompts are the train splits of some benchmarks and whose held-out samples are of their val splits."""

    def __init__(
        self,
        vlm: SplitModel,
        data: LearningData,
        benchmarks: list[str],
        settings: WarmStartSettings,
        answer: AnswerSettings,
        processes: Processes | None = None,
    ) -> None:
        """`vlm` is frozen up to its hook, its weights divided where the processes divide them; `processes` None: this one alone.

        Raises:
            InputError: the processes cannot share a step's prompts evenly.
        """
        self.vlm, self.data, self.settings, self.answer = vlm, data, settings, answer
        self.processes = processes or Processes()
        if settings.prompts % self.processes.count:
            problem = f"is {settings.prompts}, which {self.processes.count} processes cannot share evenly; take a multiple"
            raise InputError(None, "warm_start.prompts", problem)
        self.samples = [sample for _, sample in training_prompts(data, benchmarks, settings.seed).samples]
        self.gold = data.gold_thoughts("train")
        self.held_out = spread_samples(data, benchmarks, settings.samples, settings.seed)
        self._order = EpochOrder(len(self.samples), settings.seed)

    def run(self, resume: Path) -> WarmStartRecord:
        """Trains from the last resume point on, and leaves the weights in the model as a folder of the study's dtype holds them."""
        settings = self.settings
        dtype = self.vlm.dtype
        trained = {name: parameter for name, parameter in self.vlm.named_parameters() if parameter.requires_grad}
        optimiser = torch.optim.AdamW(trained.values(), lr=settings.learning_rate, weight_decay=0.0)
        point = StreamedResumePoint(resume, "warm_start", self.processes)
        done, rows = point.load(trained, optimiser)
        before, spent = point.notes.get("before"), point.notes.get("seconds", 0.0)
        before = shares(self.judged()) if before is None else before
        start = time.monotonic()
        for step in tqdm(range(done, settings.steps), desc="warm start", initial=done, total=settings.steps, disable=None):
            for group in optimiser.param_groups:
                factor = rate_factor(step, settings.steps, settings.warmup_fraction, settings.final_fraction)
                group["lr"] = settings.learning_rate * factor
            rows.append({"step": step} | self._step(step, list(trained.values()), optimiser))
            done = step + 1
            if done == settings.steps or done % settings.checkpoint_every == 0:
                point.save(done, trained, optimiser, rows, {"before": before, "seconds": spent + time.monotonic() - start})
        seconds = spent + time.monotonic() - start
        with torch.no_grad():
            for parameter in trained.values():
                parameter.copy_(parameter.to(dtype))
        after = self.judged()
        statuses = Counter(status for found in after.values() for status in found)
        return WarmStartRecord(rows, before, shares(after), dict(statuses), seconds)

    def _step(self, step: int, trained: list[nn.Parameter], optimiser: torch.optim.Optimizer) -> dict[str, float]:
        loss = self.loss(step)
        optimiser.zero_grad()
        loss.backward()
        self.processes.average_gradients(trained)
        norm = float(whole(nn.utils.clip_grad_norm_(trained, self.settings.clip_norm)))
        mean = loss.detach().double()
        self.processes.average([mean])
        row = {"cross_entropy": float(mean), "norm": norm}
        check_step(row, step, "warm_start.learning_rate")
        optimiser.step()
        forget_passes(self.vlm)
        return row

    def loss(self, step: int) -> Tensor:
        """Cross-entropy a token of this process's answers, scaled so that its mean over processes counts all tokens alike."""
        places = [step * self.settings.prompts + index for index in self.processes.share(self.settings.prompts)]
        samples = [self.samples[self._order.at(place)] for place in places]
        prompts = self.vlm.prompts([self.data.image(sample) for sample in samples], [sample.text for sample in samples])
        answers = [
            self.taught(sample, np.random.default_rng([self.settings.seed, place])) for place, sample in zip(places, samples, strict=True)
        ]
        return supervised_loss(self.vlm, prompts, answers, self.processes)

    def taught(self, sample: Sample, generator: np.random.Generator) -> list[int]:
        """Ids of the answer that is taught: the form, around a thought that is cut where it is longer than one may be."""
        thought = self.gold.get(sample.sample_id) or phrase_thought(sample, generator)
        ids = self.vlm.answer_ids(thought)
        return ids if len(ids) <= self.answer.longest else canonical(ids[: self.answer.max_thought_tokens - 1], self.vlm.special)

    @torch.no_grad()
    def judged(self) -> dict[str, list[str]]:
        """Benchmark -> the statuses of greedy answers to its held-out samples, as joint training judges them."""
        size = max(1, self.settings.prompts // self.processes.count)
        batches = [self.held_out[start : start + size] for start in range(0, len(self.held_out), size)]
        found = torch.zeros(len(self.held_out), len(STATUSES), device=self.vlm.device)
        for number, counted in self.processes.dealt(len(batches)):
            samples = [sample for _, sample in batches[number]]
            prompts = self.vlm.prompts([self.data.image(sample) for sample in samples], [sample.text for sample in samples])
            status, _ = well_formed(self.vlm, self.vlm.generate(prompts, 1, None, self.answer.longest, None))
            for row, said in enumerate(status, number * size):
                found[row, STATUSES.index(said)] = counted
        numbers = self.processes.total(found).argmax(1).tolist()
        judged: dict[str, list[str]] = {}
        for (benchmark, _), status in zip(self.held_out, numbers, strict=True):
            judged.setdefault(benchmark, []).append(STATUSES[status])
        return judged


def stored_weights(vlm: SplitModel, processes: Processes) -> dict[str, Tensor]:
    """Every weight as a folder of the study's dtype holds it, by transformers' own names; where they are divided, all processes ask for
    them together and the main one alone gets them."""
    held = vlm.model.state_dict()
    whole_ones = gathered(held, processes) if processes.divided else held
    return {name: value.to(vlm.dtype) if value.is_floating_point() else value for name, value in whole_ones.items()}


def shares(judged: Mapping[str, Sequence[str]]) -> Shares:
    """The share of valid answers by benchmark, and of all."""
    valid = {benchmark: [status == "ok" for status in statuses] for benchmark, statuses in judged.items()}
    every = [one for ones in valid.values() for one in ones]
    return {"all": sum(every) / len(every)} | {benchmark: sum(ones) / len(ones) for benchmark, ones in valid.items()}


def refuse_unlearnt(after: Shares, least: float) -> None:
    """Ends a warm start whose policy does not keep the form: all that follows it would cost much and learn from no reward.

    Raises:
        InputError: of some benchmark, fewer answers than the share `least` keep it.
    """
    low = {name: share for name, share in after.items() if share < least and name != "all"}
    if low:
        said = ", ".join(f"{share:.0%} on {name}" for name, share in low.items())
        remedy = "raise warm_start.steps or warm_start.learning_rate"
        raise InputError(
            None, "warm_start.least_valid", f"is {least}, but after the warm start fewer answers keep the form, {said}; {remedy}"
        )
