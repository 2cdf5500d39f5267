"""Scenes of the embedded world as training targets: who is under each cell of a grid, and where that object's centre is."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from segcompass.datasets.masks import decode
from segcompass.world.lexicon import COLOURS, PATTERNS, SHAPES, SIZES

ATTRIBUTES = {"colour": tuple(COLOURS), "shape": SHAPES, "size": SIZES, "pattern": PATTERNS}
"""Attribute -> its values, in the order of the class numbers."""


@dataclass(frozen=True)
class TrainingScene:
    """A scene as `prepare_data` wrote it."""

    image: str
    """Path below the data root."""
    caption: str
    labels: np.ndarray
    """uint8 [height, width], 0 on the background, i + 1 on object i."""
    classes: np.ndarray
    """int64 [objects, 4], class numbers in the order of `ATTRIBUTES`."""
    centres: np.ndarray
    """float32 [objects, 2], row and column in pixels."""


def read_scenes(data: Path, split: str) -> list[TrainingScene]:
    """Scenes of a split of the data artefact."""
    scenes = []
    for line in (data / "scenes" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
        raw = json.loads(line)
        labels = np.zeros((raw["height"], raw["width"]), np.uint8)
        for index, item in enumerate(raw["objects"]):
            labels[decode(item["visible"])] = index + 1
        classes = [[values.index(item[name]) for name, values in ATTRIBUTES.items()] for item in raw["objects"]]
        centres = [[item["row"], item["column"]] for item in raw["objects"]]
        scenes.append(TrainingScene(raw["image"], raw["caption"], labels, np.array(classes), np.array(centres, np.float32)))
    return scenes


def cell_targets(scene: TrainingScene, boxes: np.ndarray, extent: float) -> tuple[np.ndarray, np.ndarray]:
    """What each cell of a grid should report.

    Args:
        scene: the scene.
        boxes: pixel boxes (x0, y0, x1, y1) of the n cells.
        extent: pixels that make one unit of the centre's offset.

    Returns:
        classes int64 [n, 4], -1 where the cell's most frequent label is the background; offsets float32 [n, 2] from the cell's
        middle to the object's centre.
    """
    classes = np.full((len(boxes), len(ATTRIBUTES)), -1)
    offsets = np.zeros((len(boxes), 2), np.float32)
    for index, (x0, y0, x1, y1) in enumerate(boxes.round().astype(int)):
        if x1 <= x0 or y1 <= y0:
            continue
        counts = np.bincount(scene.labels[y0:y1, x0:x1].ravel())
        if (label := int(counts.argmax())) == 0 and counts[1:].sum() >= 0.3 * counts.sum():
            label = 1 + int(counts[1:].argmax())
        if label:
            classes[index] = scene.classes[label - 1]
            offsets[index] = (scene.centres[label - 1] - [(y0 + y1) / 2, (x0 + x1) / 2]) / extent
    return classes, offsets


class DenseHead(nn.Module):
    """Linear read-out of foreground, attributes and the object's centre from each cell's features; used in training only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = [1, *[len(values) for values in ATTRIBUTES.values()], 2]
        self.linear = nn.Linear(width, sum(self.sizes))

    def losses(self, features: Tensor, classes: Tensor, offsets: Tensor) -> dict[str, Tensor]:
        """Foreground BCE, a cross-entropy per attribute and squared error of the offset over foreground cells.

        Args:
            features: [cells, width].
            classes: int64 [cells, 4], -1 on background.
            offsets: [cells, 2].
        """
        foreground, *logits, centre = self.linear(features).split(self.sizes, dim=-1)
        seen = classes[:, 0] >= 0
        parts = {"foreground": functional.binary_cross_entropy_with_logits(foreground[:, 0], seen.float())}
        for index, (name, values) in enumerate(zip(ATTRIBUTES, logits, strict=True)):
            parts[name] = functional.cross_entropy(values, classes[:, index], ignore_index=-1)
        parts["centre"] = functional.mse_loss(centre[seen], offsets[seen])
        return parts


def stacked(targets: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    """Cell targets of several scenes as two tensors [cells, 4] and [cells, 2]."""
    classes, offsets = (np.concatenate(parts) for parts in zip(*targets, strict=True))
    return torch.from_numpy(classes), torch.from_numpy(offsets)
