"""The vision tower on dense patch targets, and the projector that makes its patches speak words.

The tower learns what is under each patch and where that object's centre is, from pictures as they are and mirrored. The projector then
learns to place each patch near the embeddings of the words for what it shows, as LLaVA's first stage does with captions (departure: with
the words alone, not in sentences). Without it the language model's loss lay on a plateau for over a thousand steps.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from segcompass.backbone.llava import LlavaModel
from segcompass.backbone.training.scenes import COORDINATES, DenseHead, TrainingScene, cell_targets, stacked
from segcompass.optimisation.phase import PhaseRecord, run_phase
from segcompass.study.backbone import PhaseSettings
from segcompass.world.lexicon import ATTRIBUTES

Targets = list[tuple[np.ndarray, np.ndarray]]
"""Per scene: classes and coordinates of its patches (`cell_targets`)."""
CHUNK = 256
"""Images per step where features are computed."""
WORD_SCALE = 8.0
"""Logit of a word = this * (inner product of patch and word embedding - 1/2)."""


def scene_pixels(vlm: LlavaModel, scenes: list[TrainingScene]) -> Tensor:
    """Prepared pixels [n, 3, S, S] of the scenes' images, in half precision to halve their memory."""
    chunks = []
    for start in range(0, len(scenes), CHUNK):
        images = [scene.picture for scene in scenes[start : start + CHUNK]]
        prepared = vlm.processor.image_processor(images, return_tensors="np")["pixel_values"]
        chunks.append(torch.as_tensor(np.stack(prepared)).half())
    return torch.cat(chunks)


def patch_targets(vlm: LlavaModel, scenes: list[TrainingScene]) -> Targets:
    """Targets of each scene's patches."""
    return [cell_targets(scene, vlm.token_boxes(*scene.labels.shape)) for scene in scenes]


def train_vision(
    vlm: LlavaModel, pixels: Tensor, targets: Targets, settings: PhaseSettings, seed: int, resume: Path, every: int
) -> PhaseRecord:
    """Trains the vision tower."""
    tower = vlm.model.model.vision_tower
    head = DenseHead(vlm.model.config.vision_config.hidden_size)

    def losses(step: int) -> dict[str, Tensor]:
        generator = np.random.default_rng([seed, 1, step])
        chosen, flips = generator.integers(len(targets), size=settings.batch), generator.random(settings.batch) < 0.5
        shown = torch.where(torch.from_numpy(flips)[:, None, None, None], pixels[chosen].flip(3), pixels[chosen])
        features = tower(shown.float()).last_hidden_state[:, 1:]
        wanted = [mirrored(*targets[index]) if flip else targets[index] for index, flip in zip(chosen, flips, strict=True)]
        return head.losses(features.flatten(0, 1), *stacked(wanted))

    vlm.requires_grad_(False)
    tower.requires_grad_(True)
    return run_phase("vision", settings, nn.ModuleDict({"tower": tower, "read_out": head}), losses, resume, every)


def mirrored(classes: np.ndarray, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patch targets of the picture with left and right exchanged."""
    side = round(len(classes) ** 0.5)
    order = np.arange(side * side).reshape(side, side)[:, ::-1].ravel()
    classes, coordinates = classes[order].copy(), coordinates[order] * np.array([1, -1, 1, -1], np.float32)
    place = list(ATTRIBUTES).index("place")
    seen = classes[:, place] >= 0
    row, column = np.divmod(classes[seen, place], 3)
    classes[seen, place] = 3 * row + 2 - column
    return classes, coordinates


@torch.no_grad()
def tower_features(vlm: LlavaModel, pixels: Tensor) -> Tensor:
    """Patch features [n, patches, width] that the projector reads."""
    tower = vlm.model.model.vision_tower
    parts = [tower(pixels[start : start + CHUNK].float()).last_hidden_state[:, 1:] for start in range(0, len(pixels), CHUNK)]
    return torch.cat(parts)


@torch.no_grad()
def draw_word_embeddings(vlm: LlavaModel) -> None:
    """Gives words embeddings of unit norm that the output head reads back, so that what a patch speaks can be said at once."""
    embeddings = vlm.model.model.language_model.embed_tokens.weight
    embeddings.normal_(std=vlm.hidden_width**-0.5)
    vlm.model.lm_head.weight.copy_(embeddings)


def train_projector(
    vlm: LlavaModel, features: Tensor, targets: Targets, settings: PhaseSettings, seed: int, resume: Path, every: int
) -> PhaseRecord:
    """Trains the projector: each object's patch near the embeddings of its words, its coordinates still readable."""
    projector, width = vlm.model.model.multi_modal_projector, vlm.hidden_width
    words, spoken = attribute_words(vlm)
    embeddings = vlm.model.model.language_model.embed_tokens.weight[words].detach()
    head = nn.Linear(width, COORDINATES)

    def losses(step: int) -> dict[str, Tensor]:
        chosen = np.random.default_rng([seed, 6, step]).integers(len(targets), size=settings.batch)
        classes, coordinates = stacked([targets[index] for index in chosen])
        projected = projector(features[chosen]).flatten(0, 1)
        seen = classes[:, 0] >= 0
        wanted = spoken[torch.arange(len(ATTRIBUTES)), classes.clamp(min=0)].amax(1) * seen[:, None]
        logits = WORD_SCALE * (projected @ embeddings.T - 0.5)
        return {
            "words": functional.binary_cross_entropy_with_logits(logits, wanted),
            "centre": functional.mse_loss(head(projected[seen]), coordinates[seen]),
        }

    vlm.requires_grad_(False)
    projector.requires_grad_(True)
    return run_phase("projector", settings, nn.ModuleDict({"projector": projector, "centre_head": head}), losses, resume, every)


def attribute_words(vlm: LlavaModel) -> tuple[Tensor, Tensor]:
    """Token ids [w] of all words of attribute values, and which of them each value has: float [attributes, most values, w]."""
    listed = sorted({word for values in ATTRIBUTES.values() for value in values for word in value.split()})
    spoken = torch.zeros(len(ATTRIBUTES), max(len(values) for values in ATTRIBUTES.values()), len(listed))
    for attribute, values in enumerate(ATTRIBUTES.values()):
        for number, value in enumerate(values):
            spoken[attribute, number, [listed.index(word) for word in value.split()]] = 1.0
    return torch.tensor(vlm.processor.tokenizer.convert_tokens_to_ids(listed)), spoken
