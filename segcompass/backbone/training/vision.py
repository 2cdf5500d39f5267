"""The vision tower on dense patch targets: what is under each patch, and where that object's centre is."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segcompass.backbone.llava import LlavaModel
from segcompass.backbone.training.scenes import DenseHead, TrainingScene, cell_targets, stacked
from segcompass.datasets.files import read_image
from segcompass.optimisation.phase import run_phase
from segcompass.study.backbone import PhaseSettings


def scene_pixels(vlm: LlavaModel, data: Path, scenes: list[TrainingScene]) -> Tensor:
    """Prepared pixels [n, 3, S, S] of the scenes' images."""
    images = [read_image(data / "root" / scene.image) for scene in scenes]
    return torch.as_tensor(np.stack(vlm.processor.image_processor(images, return_tensors="np")["pixel_values"]))


def train_vision(
    vlm: LlavaModel, pixels: Tensor, scenes: list[TrainingScene], settings: PhaseSettings, seed: int, resume: Path, every: int
) -> list[dict[str, Any]]:
    """Trains the vision tower.

    Returns:
        The phase's curve.
    """
    targets = []
    for scene in scenes:
        height, width = scene.labels.shape
        targets.append(cell_targets(scene, vlm.token_boxes(height, width), max(height, width) / 4))
    tower = vlm.model.model.vision_tower
    head = DenseHead(vlm.model.config.vision_config.hidden_size)

    def losses(step: int) -> dict[str, Tensor]:
        chosen = np.random.default_rng([seed, 1, step]).integers(len(scenes), size=settings.batch)
        features = tower(pixels[chosen]).last_hidden_state[:, 1:]
        return head.losses(features.flatten(0, 1), *stacked([targets[index] for index in chosen]))

    tower.requires_grad_(True)
    return run_phase("vision", settings, nn.ModuleList([tower, head]), losses, resume, every)
