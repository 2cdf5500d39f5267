"""SAM on the embedded world: the encoder on dense targets, then prompt encoder and mask decoder on blurred, noisy mask prompts."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from segcompass.backbone.interface import SegmenterInputs
from segcompass.backbone.sam import SamSegmenter
from segcompass.backbone.training.scenes import DenseHead, TrainingScene, cell_targets, stacked
from segcompass.optimisation.phase import run_phase
from segcompass.study.backbone import PhaseSettings

PROMPT_SCALE = 8.0
"""Logit of a sure pixel in a training prompt."""


def grid_boxes(height: int, width: int, grid: int) -> np.ndarray:
    """Pixel boxes [grid * grid, 4] of SAM's embedding cells in the original image; empty in the padding."""
    edges = np.arange(grid + 1) * max(height, width) / grid
    rows, columns = np.divmod(np.arange(grid * grid), grid)
    boxes = np.stack([edges[columns], edges[rows], edges[columns + 1], edges[rows + 1]], 1)
    return np.asarray(boxes.clip(0, [width, height, width, height]))


def train_encoder(
    sam: SamSegmenter, inputs: SegmenterInputs, scenes: list[TrainingScene], settings: PhaseSettings, seed: int, resume: Path, every: int
) -> list[dict[str, Any]]:
    """Trains the image encoder.

    Returns:
        The phase's curve.
    """
    targets = []
    for scene in scenes:
        height, width = scene.labels.shape
        targets.append(cell_targets(scene, grid_boxes(height, width, sam.grid), max(height, width) / 4))
    head = DenseHead(sam.channels)

    def losses(step: int) -> dict[str, Tensor]:
        chosen = np.random.default_rng([seed, 3, step]).integers(len(scenes), size=settings.batch)
        features = sam.encode_pixels(inputs.pixels[chosen]).flatten(2).transpose(1, 2)
        return head.losses(features.flatten(0, 1), *stacked([targets[index] for index in chosen]))

    sam.requires_grad_(False)
    sam.model.vision_encoder.requires_grad_(True)
    return run_phase("encoder", settings, nn.ModuleList([sam.model.vision_encoder, head]), losses, resume, every)


def noisy_prompt(mask: Tensor, generator: torch.Generator) -> Tensor:
    """A mask [..., m, m] of fractions as the logits that an unsure mapper would give: blurred, scaled and noisy."""
    blurred = functional.avg_pool2d(mask.flatten(0, -3)[:, None], 7, 1, 3)[:, 0].reshape(mask.shape)
    scale = PROMPT_SCALE * (0.3 + 0.7 * torch.rand(mask.shape[:-2], generator=generator))[..., None, None]
    return scale * (2 * blurred - 0.6) + torch.randn(mask.shape, generator=generator)


def mask_losses(logits: Tensor, target: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """BCE and Dice of mask logits [n, m, m] against fractions, the padding left out."""
    weight = valid.float()
    bce = functional.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum") / weight.sum()
    sure = logits.sigmoid() * weight
    dice = 1 - (2 * (sure * target).sum((1, 2)) + 1) / (sure.sum((1, 2)) + target.sum((1, 2)) + 1)
    return {"bce": bce, "dice": dice.mean()}


def train_decoder(
    sam: SamSegmenter, inputs: SegmenterInputs, scenes: list[TrainingScene], settings: PhaseSettings, seed: int, resume: Path, every: int
) -> list[dict[str, Any]]:
    """Trains prompt encoder and mask decoder on frozen embeddings, one object an image and step.

    Returns:
        The phase's curve.
    """

    def losses(step: int) -> dict[str, Tensor]:
        generator = np.random.default_rng([seed, 4, step])
        chosen = generator.integers(len(scenes), size=settings.batch)
        target = object_targets(sam, [scenes[index] for index in chosen], generator)
        noise = torch.Generator().manual_seed(int(generator.integers(2**62)))
        batch = SegmenterInputs(inputs.pixels[chosen], [inputs.sizes[index] for index in chosen], inputs.valid[chosen])
        logits = sam.decode(sam.embed(batch), noisy_prompt(target, noise)[:, None])[:, 0]
        return mask_losses(logits, target, batch.valid)

    sam.requires_grad_(False)
    for parameter in (*sam.prompt_parameters(), *sam.decoder_parameters()):
        parameter.requires_grad_(True)
    return run_phase("decoder", settings, nn.ModuleList([sam.model.prompt_encoder, sam.model.mask_decoder]), losses, resume, every)


def object_targets(sam: SamSegmenter, scenes: list[TrainingScene], generator: np.random.Generator) -> Tensor:
    """Low-resolution fractions [n, m, m] of one random object of each scene."""
    masks = [scene.labels == 1 + generator.integers(len(scene.classes)) for scene in scenes]
    return torch.stack([sam.to_low_resolution(mask) for mask in masks])
