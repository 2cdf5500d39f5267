"""The loop of a supervised training phase: Muon with AdamW, schedule, clipping, curve, resume points."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from segcompass.numerics.finite import check_step
from segcompass.optimisation.muon import Muon
from segcompass.optimisation.resume import ResumePoint
from segcompass.optimisation.schedule import rate_factor
from segcompass.study.backbone import PhaseSettings

Losses = Callable[[int], dict[str, Tensor]]
"""Step -> named losses; their sum is minimised."""


@dataclass(frozen=True)
class PhaseRecord:
    """What a phase leaves behind beside the weights."""

    name: str
    rows: list[dict[str, Any]]
    """The curve: one row a step with phase, step, and every loss."""
    seconds: float
    """Wall time of its steps, over all runs that it took."""


def run_phase(name: str, settings: PhaseSettings, module: nn.Module, losses: Losses, resume: Path, checkpoint_every: int) -> PhaseRecord:
    """Trains the parameters of `module` that require a gradient."""
    start = time.monotonic()
    trained = [(key, parameter) for key, parameter in module.named_parameters() if parameter.requires_grad]
    optimiser = Muon(trained, settings.learning_rate, settings.matrix_learning_rate, settings.weight_decay)
    point = ResumePoint(resume, name)
    done, rows = point.load(module.state_dict(), optimiser)
    spent = point.notes.get("seconds", 0.0)
    for step in tqdm(range(done, settings.steps), desc=name, initial=done, total=settings.steps, disable=None):
        factor = rate_factor(step, settings.steps, settings.warmup_fraction, settings.final_fraction)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        parts = losses(step)
        total = torch.stack(list(parts.values())).sum()
        optimiser.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_([parameter for _, parameter in trained], settings.clip_norm)
        values = {"total": float(total.detach())} | {key: float(value.detach()) for key, value in parts.items()}
        check_step(values | {"gradient norm": float(norm.detach())}, step, f"learning rates of the phase {name}")
        optimiser.step()
        rows.append({"phase": name, "step": step} | values)
        if (step + 1) % checkpoint_every == 0 or step + 1 == settings.steps:
            notes = {"seconds": spent + time.monotonic() - start}
            point.save(step + 1, module.state_dict(), optimiser, rows, notes)
    return PhaseRecord(name, rows, spent + time.monotonic() - start)
