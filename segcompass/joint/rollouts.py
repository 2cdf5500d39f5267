"""Rollouts scored: sampled answers, whether they keep the form, and the well-formed answers that the masks are read from.

Departure from the paper: 1. a malformed answer still gets segmentation supervision, on the nearest well-formed answer (its own words,
closed, followed by K reference tokens); its mask reward is 0. Otherwise the masks would learn nothing until the policy knows the form.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segcompass.backbone.interface import HookStates, Prompts, Randomness, Rollouts, VisionLanguageModel
from segcompass.backbone.prompt import canonical, status_of
from segcompass.optimisation.processes import Processes


@dataclass(frozen=True)
class Answers:
    """Answers of N sequences, prompt-major."""

    rollouts: Rollouts
    """As generated."""
    status: list[str]
    """`ok`, or how the form is broken (backbone/prompt.py)."""
    sampled: HookStates
    """Of the answers as generated, from sampling itself."""
    formed: HookStates
    """Of the well-formed answers; `sampled` itself where every answer keeps the form, which needs no second pass."""

    @property
    def valid(self) -> np.ndarray:
        """bool [N]: the answer keeps the form."""
        return np.array([status == "ok" for status in self.status])


def answer(
    vlm: VisionLanguageModel, prompts: Prompts, group: int, temperature: float | None, longest: int, generator: Randomness
) -> Answers:
    """G answers a prompt, at most `longest` tokens each; `temperature` None decodes greedily."""
    rollouts = vlm.generate(prompts, group, temperature, longest, generator)
    status, formed = well_formed(vlm, rollouts)
    sampled = vlm.rollout_states(prompts, rollouts)
    if not vlm.in_any_process(any(state != "ok" for state in status)):
        return Answers(rollouts, status, sampled, sampled)
    return Answers(rollouts, status, sampled, *read_answers(vlm, prompts, formed))


def well_formed(vlm: VisionLanguageModel, rollouts: Rollouts) -> tuple[list[str], list[list[int]]]:
    """How each answer keeps or breaks the form, and the ids of the well-formed answers that masks are read from."""
    generated = [ids.tolist() for ids in rollouts.valid_ids]
    status = [status_of(ids, vlm.special) for ids in generated]
    return status, [ids if state == "ok" else canonical(ids, vlm.special) for ids, state in zip(generated, status, strict=True)]


def with_unreadable(prompts: Prompts, form: Sequence[str]) -> list[str]:
    """The status of B answers, which is why an instruction cannot be read where that is so, else how the answer keeps its form."""
    return [kept if reading.status == "ok" else reading.status for reading, kept in zip(prompts.readings, form, strict=True)]


def read_answers(
    vlm: VisionLanguageModel, prompts: Prompts, answers: Sequence[list[int]], layers: Sequence[int] | None = None
) -> list[HookStates]:
    """States after each of `layers` (None: after the hook) of N answers that are given by their ids, prompt-major, not generated."""
    length = max(len(ids) for ids in answers)
    padded = torch.tensor([ids + [vlm.pad_id] * (length - len(ids)) for ids in answers])
    mask = torch.arange(length)[None] < torch.tensor([len(ids) for ids in answers])[:, None]
    return vlm.passes(prompts, padded.to(vlm.device), mask.to(vlm.device), [vlm.hook_layer] if layers is None else layers)


def supervised_loss(vlm: VisionLanguageModel, prompts: Prompts, answers: Sequence[list[int]], processes: Processes | None = None) -> Tensor:
    """Cross-entropy a token of B answers that are given by their ids, in nats, with gradient above the hook.

    With several processes it is scaled so that its mean over them counts all tokens of all answers alike.
    """
    (states,) = read_answers(vlm, prompts, answers)
    log_probs = vlm.answer_log_probs(vlm.upper(states), states, 1.0)
    mask = states.mask[:, states.prompt_length :]
    tokens = mask.sum().float()
    share = 1.0 if processes is None else processes.count / float(processes.total(tokens.clone())) * float(tokens)
    return -share * (log_probs * mask).sum() / tokens
