"""Trains a dictionary on a stream of tokens (paper section 2, stage 1)."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from segcompass.activations.stream import TokenSource, TokenStream
from segcompass.optimisation.resume import ResumePoint
from segcompass.optimisation.schedule import rate_factor
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.initialisation import decoder_bias, mean_norm_scale
from segcompass.study.concepts import SaeTrainingSettings


def train(dictionary: Dictionary, source: TokenSource, settings: SaeTrainingSettings, resume: Path) -> list[dict[str, Any]]:
    """Trains in place; the dictionary reads raw activations afterwards.

    Killed at any moment and called again with the same folder `resume`, it ends with the same bytes.

    Returns:
        The curve: one row a step.
    """
    dictionary.unit_decoder &= settings.decoder_norm == "unit"
    stream = TokenStream(source, settings.batch_tokens, settings.buffer_tokens, settings.seed)
    optimiser = torch.optim.AdamW(dictionary.parameters(), lr=settings.learning_rate, weight_decay=0.0, fused=True)
    scale = torch.ones(())
    point = ResumePoint(resume, "sae")
    done, rows = point.load(dictionary.state_dict() | stream.state() | {"scale": scale}, optimiser)
    if not done:
        _initialise(dictionary, stream, settings, scale)
    for step in tqdm(range(done, settings.steps), desc="training", initial=done, total=settings.steps, disable=None):
        optimiser.param_groups[0]["lr"] = settings.learning_rate * rate_factor(
            step, settings.steps, settings.warmup_fraction, settings.final_fraction
        )
        parts, active = dictionary.losses(next(stream) / scale)
        optimiser.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        dictionary.count_silent(active, settings.batch_tokens)
        dictionary.before_step()
        nn.utils.clip_grad_norm_(dictionary.parameters(), settings.clip_norm)
        optimiser.step()
        dictionary.after_step()
        rows.append({"step": step} | {name: float(value.detach()) for name, value in parts.items()})
        if (step + 1) % settings.checkpoint_every == 0:
            point.save(step + 1, dictionary.state_dict() | stream.state() | {"scale": scale}, optimiser, rows)
    dictionary.fold_scale(float(scale))
    return rows


@torch.no_grad()
def _initialise(dictionary: Dictionary, stream: TokenStream, settings: SaeTrainingSettings, scale: torch.Tensor) -> None:
    x = stream.first()
    if settings.activation_scale == "mean_norm":
        scale.fill_(mean_norm_scale(x))
    dictionary.start_at(x / scale, decoder_bias(x / scale, settings.decoder_bias))
