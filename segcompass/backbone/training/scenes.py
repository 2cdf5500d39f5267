"""Scenes of the embedded world as training material: pictures, texts, who is under each cell of a grid and where its centre is.

The backbone is trained on scenes of its own, drawn from the same world with other numbers than any scene of the data artefact: a tower
that saw 8,000 scenes twelve times named shape and place of a new object 7 % less often than of an old one.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from segcompass.datasets.artefact import read_lines
from segcompass.datasets.images import read_image
from segcompass.datasets.masks import decode
from segcompass.study.data import WorldSettings
from segcompass.world.hasty import HastyAnswer, hasty_answer
from segcompass.world.lexicon import ATTRIBUTES
from segcompass.world.render import as_jpeg, render
from segcompass.world.scene import draw_scene
from segcompass.world.splits import expressions, implicit_expressions
from segcompass.world.thoughts import caption

TAUGHT_BENCHMARKS = ("refcoco", "refcoco+", "refcocog", "refcocog", "grefcoco", "grefcoco")
"""Whose instructions the backbone reads; the harder ones stand twice and are drawn twice as often."""
FIRST_NUMBER = 10_000_000
"""Number of the backbone's first scene, above that of any scene of the data artefact."""
LEAST_SHARE = 0.1
"""Share of a cell that objects must cover for the cell to report the largest of them."""
COORDINATES = 4
"""Numbers that say where a cell's object is: row and column from the cell's middle, row and column in the image."""


@dataclass(frozen=True)
class TaughtText:
    """An instruction about a scene, with the answers that are taught."""

    instruction: str
    thought: str
    """The gold thought."""
    hasty: HastyAnswer
    targets: int
    """Number of objects that are meant."""


@dataclass(frozen=True)
class TrainingScene:
    """A scene with its picture."""

    image: str
    """Path below the data root; empty for a scene that no file holds."""
    picture: np.ndarray
    """uint8 [height, width, 3]."""
    caption: str
    texts: tuple["TaughtText", ...]
    """Instructions with their answers."""
    labels: np.ndarray
    """uint8 [height, width], 0 on the background, i + 1 on object i."""
    classes: np.ndarray
    """int64 [objects, 5], class numbers in the order of `ATTRIBUTES`."""
    centres: np.ndarray
    """float32 [objects, 2], row and column in pixels."""


def draw_training_scenes(world: WorldSettings, count: int, seed: int) -> list[TrainingScene]:
    """Scenes for the backbone alone, with the instructions of the training benchmarks and those that teach ReasonSeg's wording."""
    found = []
    for number in tqdm(range(FIRST_NUMBER, FIRST_NUMBER + count), desc="scenes", disable=None):
        scene = draw_scene(number, "train", world, np.random.default_rng([seed, number]))
        worded = [expression for benchmark in TAUGHT_BENCHMARKS for expression in expressions(scene, benchmark, world)]
        worded += implicit_expressions(scene, world)
        texts = tuple(
            TaughtText(sentence, expression.thought, hasty_answer(scene, expression), len(expression.targets))
            for expression in worded
            for sentence in expression.sentences
        )
        picture = as_jpeg(render(scene, np.random.default_rng([seed, number, 1])))
        labels = (scene.visible * np.arange(1, len(scene.objects) + 1)[:, None, None]).sum(0).astype(np.uint8)
        attributes = [asdict(item) | {"place": scene.place(item)} for item in scene.objects]
        found.append(_training_scene("", picture, caption(scene), texts, labels, attributes))
    return found


def read_scenes(data: Path, split: str) -> list[TrainingScene]:
    """Scenes of a split of the data artefact, without texts."""
    scenes = []
    for raw in read_lines(data / "scenes" / f"{split}.jsonl"):
        labels = np.zeros((raw["height"], raw["width"]), np.uint8)
        for index, item in enumerate(raw["objects"]):
            labels[decode(item["visible"])] = index + 1
        scenes.append(_training_scene(raw["image"], read_image(data / "root" / raw["image"]), raw["caption"], (), labels, raw["objects"]))
    return scenes


def _training_scene(
    image: str, picture: np.ndarray, text: str, texts: tuple[TaughtText, ...], labels: np.ndarray, objects: list[dict[str, Any]]
) -> TrainingScene:
    classes = [[values.index(item[name]) for name, values in ATTRIBUTES.items()] for item in objects]
    centres = [[item["row"], item["column"]] for item in objects]
    return TrainingScene(image, picture, text, texts, labels, np.array(classes), np.array(centres, np.float32))


def cell_targets(scene: TrainingScene, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each cell of a grid should report: the object whose centre lies in it, else the object that covers most of it.

    Without the first rule a small object that straddles cells would be nobody's: 9 % of the objects at 64 cells.

    Args:
        scene: the scene.
        boxes: pixel boxes (x0, y0, x1, y1) of the n cells, empty in the padding.

    Returns:
        classes int64 [n, 5], -1 on background; coordinates float32 [n, 4] of the object's centre: row and column from the cell's middle
        in quarters of the longer image side, row and column in the image from -1 to 1.
    """
    owners = np.array([_largest(scene.labels, box) for box in boxes.round().astype(int)])
    middles = np.stack([boxes[:, [1, 3]].mean(1), boxes[:, [0, 2]].mean(1)], 1)
    for index, (row, column) in enumerate(scene.centres):
        inside = (boxes[:, 0] <= column) & (column < boxes[:, 2]) & (boxes[:, 1] <= row) & (row < boxes[:, 3])
        for cell in np.flatnonzero(inside):
            rival = owners[cell] - 1
            held = rival >= 0 and _inside(scene.centres[rival], boxes[cell])
            if not held or _distance(scene.centres[index], middles[cell]) < _distance(scene.centres[rival], middles[cell]):
                owners[cell] = index + 1
    seen = owners > 0
    classes = np.full((len(boxes), len(ATTRIBUTES)), -1)
    coordinates = np.zeros((len(boxes), COORDINATES), np.float32)
    centres, extent = scene.centres[owners[seen] - 1], np.array(scene.labels.shape)
    classes[seen] = scene.classes[owners[seen] - 1]
    coordinates[seen] = np.concatenate([(centres - middles[seen]) / (extent.max() / 4), 2 * centres / extent - 1], 1)
    return classes, coordinates


def _largest(labels: np.ndarray, box: np.ndarray) -> int:
    """The label that covers most of a box; 0 where objects cover less than `LEAST_SHARE` of it."""
    x0, y0, x1, y1 = box
    counts = np.bincount(labels[y0:y1, x0:x1].ravel(), minlength=1)
    return 1 + int(counts[1:].argmax()) if counts[1:].sum() > LEAST_SHARE * counts.sum() else 0


def _inside(point: np.ndarray, box: np.ndarray) -> bool:
    """Whether a point (row, column) lies in a box (x0, y0, x1, y1)."""
    return bool(box[0] <= point[1] < box[2] and box[1] <= point[0] < box[3])


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.hypot(*(first - second)))


class DenseHead(nn.Module):
    """Linear read-out of foreground, attributes and the object's place from each cell's features; used in training only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = [1, *[len(values) for values in ATTRIBUTES.values()], COORDINATES]
        self.linear_head = nn.Linear(width, sum(self.sizes))

    def losses(self, features: Tensor, classes: Tensor, coordinates: Tensor) -> dict[str, Tensor]:
        """Foreground BCE, a cross-entropy per attribute and squared error of the coordinates over foreground cells.

        Args:
            features: [cells, width].
            classes: int64 [cells, 5], -1 on background.
            coordinates: [cells, 4].
        """
        foreground, *logits, where = self.linear_head(features).split(self.sizes, dim=-1)
        seen = classes[:, 0] >= 0
        parts = {"foreground": functional.binary_cross_entropy_with_logits(foreground[:, 0], seen.float())}
        for index, (name, values) in enumerate(zip(ATTRIBUTES, logits, strict=True)):
            parts[name] = functional.cross_entropy(values, classes[:, index], ignore_index=-1)
        parts["centre"] = COORDINATES * functional.mse_loss(where[seen], coordinates[seen])
        return parts


def stacked(targets: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    """Cell targets of several scenes as two tensors [cells, 5] and [cells, 4]."""
    classes, coordinates = (np.concatenate(parts) for parts in zip(*targets, strict=True))
    return torch.from_numpy(classes), torch.from_numpy(coordinates)
