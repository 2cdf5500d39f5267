"""SAM on the embedded world: the encoder on dense targets, all of it on blurred, noisy mask prompts, then on both together.

Mask prompts say where an object is, so masks alone leave no need to know what it is: after them a linear probe of the embedding named an
object's colour in 30 of 100 cells and its place in 21, and no mapper could find by its embedding what a thought names. The last phase
brings that back and keeps the masks.
The encoder's targets are finer than its cells: for each of the 4 x 4 mask pixels of a cell, whether an object is there and where that
object's centre is. One number a cell, as before, left the outline to the decoder, which never saw the pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from segcompass.backbone.interface import Segmenter
from segcompass.backbone.sam import SamSegmenter
from segcompass.backbone.training.scenes import DenseHead, TrainingScene, cell_targets, stacked
from segcompass.optimisation.phase import PhaseRecord, run_phase
from segcompass.study.backbone import PhaseSettings

PROMPT_SCALE = 8.0
"""Logit of a sure pixel in a training prompt."""
FINE = 4
"""Mask pixels along the side of an embedding cell."""
CHUNK = 128
"""Images per step where they are prepared."""


@dataclass(frozen=True)
class PreparedScenes:
    """Scenes as SAM's training reads them."""

    pixels: Tensor
    """float16 [n, 3, S, S]."""
    valid: Tensor
    """bool [n, m, m]."""
    masks: list[Tensor]
    """Per scene uint8 [objects, m, m], visible area fractions in 255ths."""
    cells: list[tuple[np.ndarray, np.ndarray]]
    """Per scene the targets of its embedding cells (`cell_targets`)."""
    centres: list[Tensor]
    """Per scene float [objects, 2], row and column in mask pixels."""

    def fractions(self, index: int) -> Tensor:
        """Visible area fractions [objects, m, m] of a scene."""
        return self.masks[index].float() / 255


def prepare_scenes(sam: Segmenter, scenes: list[TrainingScene]) -> PreparedScenes:
    """Pixels and low-resolution truth of scenes."""
    pixels, valid, masks, cells, centres = [], [], [], [], []
    for start in range(0, len(scenes), CHUNK):
        inputs = sam.inputs([scene.picture for scene in scenes[start : start + CHUNK]])
        pixels.append(inputs.pixels.half())
        valid.append(inputs.valid)
    for scene in scenes:
        objects = [sam.to_low_resolution(scene.labels == number + 1) for number in range(len(scene.classes))]
        masks.append((torch.stack(objects) * 255).round().to(torch.uint8))
        height, width = scene.labels.shape
        cells.append(cell_targets(scene, grid_boxes(height, width, sam.grid)))
        centres.append(torch.from_numpy(scene.centres * sam.mask_side / max(height, width)))
    return PreparedScenes(torch.cat(pixels), torch.cat(valid), masks, cells, centres)


def grid_boxes(height: int, width: int, grid: int) -> np.ndarray:
    """Pixel boxes [grid * grid, 4] of SAM's embedding cells in the original image; empty in the padding."""
    edges = np.arange(grid + 1) * max(height, width) / grid
    rows, columns = np.divmod(np.arange(grid * grid), grid)
    boxes = np.stack([edges[columns], edges[rows], edges[columns + 1], edges[rows + 1]], 1)
    return np.asarray(boxes.clip(0, [width, height, width, height]))


class DenseTargets(nn.Module):
    """Read-out heads of the encoder's dense targets; used in training only."""

    def __init__(self, sam: SamSegmenter, prepared: PreparedScenes) -> None:
        super().__init__()
        self.prepared = prepared
        self.cell_head, self.fine_head = DenseHead(sam.channels), nn.Linear(sam.channels, 3 * FINE * FINE)

    def losses(self, embedding: Tensor, chosen: np.ndarray) -> dict[str, Tensor]:
        """Losses of the embeddings [B, C, g, g] of B chosen scenes."""
        prepared = self.prepared
        parts = self.cell_head.losses(embedding.flatten(2).transpose(1, 2).flatten(0, 1), *stacked([prepared.cells[i] for i in chosen]))
        fine = functional.pixel_shuffle(self.fine_head(embedding.movedim(1, 3)).movedim(3, 1), FINE)
        covered, offsets = (torch.stack(part) for part in zip(*(fine_targets(prepared, index) for index in chosen), strict=True))
        inside = covered > 0.5
        parts["outline"] = functional.binary_cross_entropy_with_logits(fine[:, 0], covered)
        parts["offset"] = functional.mse_loss(fine[:, 1:].movedim(1, 3)[inside], offsets[inside])
        return parts


def train_encoder(
    sam: SamSegmenter, prepared: PreparedScenes, settings: PhaseSettings, seed: int, resume: Path, every: int, name: str = "encoder"
) -> PhaseRecord:
    """Trains the image encoder; the heads' weights, as the encoder's own, come from torch's current seed."""
    dense = DenseTargets(sam, prepared)

    def losses(step: int) -> dict[str, Tensor]:
        chosen = np.random.default_rng([seed, 3, step]).integers(len(prepared.pixels), size=settings.batch)
        return dense.losses(sam.encode_pixels(prepared.pixels[chosen].float()), chosen)

    sam.requires_grad_(False)
    sam.model.vision_encoder.requires_grad_(True)
    heads = {"encoder": sam.model.vision_encoder, "cell_head": dense.cell_head, "fine_head": dense.fine_head}
    return run_phase(name, settings, nn.ModuleDict(heads), losses, resume, every)


def fine_targets(prepared: PreparedScenes, index: int) -> tuple[Tensor, Tensor]:
    """Of each mask pixel: how much of it objects cover [m, m], and the way to the largest one's centre [m, m, 2] in eighths of the side."""
    fractions = prepared.fractions(index)
    side = fractions.shape[-1]
    here = torch.stack(torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij"), -1)
    return fractions.sum(0).clamp(max=1), (prepared.centres[index][fractions.argmax(0)] - here) / (side / 8)


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


def train_masks(
    sam: SamSegmenter, prepared: PreparedScenes, settings: PhaseSettings, prompts: int, seed: int, resume: Path, every: int
) -> PhaseRecord:
    """Trains encoder, prompt encoder and mask decoder together, `prompts` objects an image and step."""

    def losses(step: int) -> dict[str, Tensor]:
        generator = np.random.default_rng([seed, 4, step])
        chosen = generator.integers(len(prepared.pixels), size=settings.batch)
        return prompted_losses(sam, prepared, sam.encode_pixels(prepared.pixels[chosen].float()), chosen, prompts, generator)

    return run_phase("masks", settings, nn.ModuleDict(_trainable_parts(sam)), losses, resume, every)


def train_together(
    sam: SamSegmenter,
    prepared: PreparedScenes,
    settings: PhaseSettings,
    prompts: int,
    seed: int,
    resume: Path,
    every: int,
    name: str = "together",
) -> PhaseRecord:
    """Trains the same parts on the encoder's dense targets and on mask prompts at once.

    The heads are drawn from `seed` alone, so that the phase may also begin from a SAM that was trained and saved before.
    """
    torch.manual_seed(seed)
    dense = DenseTargets(sam, prepared)

    def losses(step: int) -> dict[str, Tensor]:
        generator = np.random.default_rng([seed, 5, step])
        chosen = generator.integers(len(prepared.pixels), size=settings.batch)
        embedding = sam.encode_pixels(prepared.pixels[chosen].float())
        return dense.losses(embedding, chosen) | prompted_losses(sam, prepared, embedding, chosen, prompts, generator)

    parts = _trainable_parts(sam) | {"cell_head": dense.cell_head, "fine_head": dense.fine_head}
    return run_phase(name, settings, nn.ModuleDict(parts), losses, resume, every)


def prompted_losses(
    sam: SamSegmenter, prepared: PreparedScenes, embedding: Tensor, chosen: np.ndarray, prompts: int, generator: np.random.Generator
) -> dict[str, Tensor]:
    """Mask losses of `prompts` random objects of each of the B chosen scenes, embeddings [B, C, g, g]."""
    target = torch.stack([drawn_masks(prepared, index, prompts, generator) for index in chosen])
    noise = torch.Generator().manual_seed(int(generator.integers(2**62)))
    logits = sam.decode(embedding, noisy_prompt(target, noise))
    valid = prepared.valid[chosen].repeat_interleave(prompts, 0)
    return mask_losses(logits.flatten(0, 1), target.flatten(0, 1), valid)


def _trainable_parts(sam: SamSegmenter) -> dict[str, nn.Module]:
    """Encoder, mask prompt encoder and decoder, set to be trained; the rest of SAM is frozen."""
    sam.requires_grad_(False)
    parts: dict[str, nn.Module] = {
        "encoder": sam.model.vision_encoder,
        "prompt": sam.model.prompt_encoder.mask_embed,
        "decoder": sam.model.mask_decoder,
    }
    for part in parts.values():
        part.requires_grad_(True)
    return parts


def drawn_masks(prepared: PreparedScenes, index: int, count: int, generator: np.random.Generator) -> Tensor:
    """Fractions [count, m, m] of random objects of a scene."""
    return prepared.fractions(index)[generator.integers(len(prepared.masks[index]), size=count)]
