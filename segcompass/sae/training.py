"""Trains a dictionary on the token cache and measures it on held-out images (paper section 2, stage 1)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from segcompass.activations.cache import CacheReader
from segcompass.backbone.interface import INSTRUCTION, THOUGHT, VISUAL
from segcompass.optimisation.resume import ResumePoint
from segcompass.optimisation.schedule import rate_factor
from segcompass.sae.dictionary import Dictionary
from segcompass.study.concepts import SaeTrainingSettings

TOKEN_TYPES = {"all": None, "visual": VISUAL, "instruction": INSTRUCTION, "thought": THOUGHT}


def activation_scale(x: Tensor) -> float:
    """The constant by which tokens [T, d] are divided so that their mean norm is sqrt(d)."""
    return float(x.norm(dim=1).mean() / x.shape[1] ** 0.5)


def train(
    dictionary: Dictionary, reader: CacheReader, settings: SaeTrainingSettings, resume: Path, prefix: str = "sae"
) -> list[dict[str, Any]]:
    """Trains in place; the dictionary reads raw activations afterwards.

    Returns:
        The curve: one row a step.
    """
    first = next(reader.batches(settings.batch_tokens, settings.buffer_tokens, settings.seed))
    scale = activation_scale(first)
    with torch.no_grad():
        dictionary.b_dec.copy_(first.mean(0) / scale)
        dictionary.b_enc.copy_(-dictionary.b_dec @ dictionary.W_enc)
    optimiser = torch.optim.AdamW(dictionary.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    point = ResumePoint(resume, prefix)
    done, rows = point.load(dictionary.state_dict(), optimiser)
    batches = reader.batches(settings.batch_tokens, settings.buffer_tokens, settings.seed)
    for step in tqdm(range(settings.steps), desc="training", disable=None):
        x = next(batches)
        if step < done:
            continue
        optimiser.param_groups[0]["lr"] = settings.learning_rate * rate_factor(
            step, settings.steps, settings.warmup_fraction, settings.final_fraction
        )
        parts = dictionary.losses(x / scale)
        optimiser.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        nn.utils.clip_grad_norm_(dictionary.parameters(), settings.clip_norm)
        optimiser.step()
        dictionary.after_step()
        rows.append({"step": step} | {name: float(value.detach()) for name, value in parts.items()})
        if (step + 1) % settings.checkpoint_every == 0:
            point.save(step + 1, dictionary.state_dict(), optimiser, rows)
    dictionary.fold_scale(scale)
    return rows


@torch.no_grad()
def held_out_metrics(dictionary: Dictionary, reader: CacheReader) -> dict[str, dict[str, float]]:
    """Explained variance, squared error, L0 and dead fraction on held-out images, for all tokens and per token type.

    Explained variance is 1 - sum of squared errors / sum of squared deviations from the held-out mean of the same tokens.
    """
    shards = list(reader.held_out())
    x, types = torch.cat([shard["hidden"] for shard in shards]), torch.cat([shard["token_type"] for shard in shards])
    found = {}
    for name, number in TOKEN_TYPES.items():
        own = x if number is None else x[types == number]
        if not len(own):
            continue
        z = dictionary.encode(own)
        error = (own - dictionary.decode(z)).square().sum(1)
        spread = (own - own.mean(0)).square().sum()
        found[name] = {
            "tokens": float(len(own)),
            "explained_variance": float(1 - error.sum() / spread),
            "mse": float(error.mean()),
            "l0": float((z != 0).float().sum(1).mean()),
            "dead_fraction": float((z == 0).all(0).float().mean()),
        }
    return found
