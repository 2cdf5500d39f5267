"""Scenes of the embedded world: objects with complete attributes, apart from each other, at least 60 % of each in sight."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from segcompass.study.data import WorldSettings
from segcompass.world.lexicon import COLOURS, PATTERNS, SHAPES, SIZES, place_of

LEAST_VISIBLE = 0.6
LEAST_APART = 1 / 8
"""Least distance of two centres along one of the axes, as a share of the longer image side: no two objects are at one spot."""
RADIUS = {"small": (0.085, 0.11), "large": (0.15, 0.185)}
"""Size word -> range of the radius as a share of the shorter image side."""


@dataclass(frozen=True)
class SceneObject:
    """One object; row, column and radius in pixels."""

    object_id: int
    shape: str
    colour: str
    size: str
    pattern: str
    row: float
    column: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """Objects in drawing order (later ones in front) on an image of height x width pixels."""

    scene_id: int
    split: str
    height: int
    width: int
    objects: tuple[SceneObject, ...]
    visible: np.ndarray
    """bool [objects, height, width], what is seen of each object."""

    def place(self, item: SceneObject) -> str:
        """The place word of an object."""
        return place_of(item.row, item.column, self.height, self.width)


def outline(item: SceneObject, height: int, width: int) -> np.ndarray:
    """bool [height, width], the object's pixels as if nothing were in front of it."""
    top, left = max(0, int(item.row - item.radius)), max(0, int(item.column - item.radius))
    rows, columns = np.ogrid[top : min(height, int(item.row + item.radius) + 2), left : min(width, int(item.column + item.radius) + 2)]
    y, x = (rows - item.row) / item.radius, (columns - item.column) / item.radius
    distance = np.hypot(y, x)
    match item.shape:
        case "disc":
            mask = distance <= 1
        case "ring":
            mask = (distance <= 1) & (distance >= 0.55)
        case "square":
            mask = np.maximum(abs(y), abs(x)) <= 0.85
        case "triangle":
            mask = (y <= 0.8) & (y >= -1 + 1.9 * abs(x))
        case "cross":
            mask = (np.minimum(abs(y), abs(x)) <= 0.32) & (np.maximum(abs(y), abs(x)) <= 0.95)
        case "star":
            mask = distance <= 0.62 + 0.38 * np.cos(5 * (np.arctan2(x, -y)))
        case _:
            raise ValueError(f"no such shape: {item.shape}")
    whole = np.zeros((height, width), bool)
    whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return whole


def draw_scene(scene_id: int, split: str, settings: WorldSettings, generator: np.random.Generator) -> Scene:
    """A random scene; placement is repeated until the wanted number of objects fits."""
    while True:
        height, width = (int(side) for side in generator.choice(settings.image_sides, 2))
        count = int(generator.integers(settings.objects[0], settings.objects[1] + 1))
        objects: list[SceneObject] = []
        full = np.zeros((0, height, width), bool)
        for _ in range(30 * count):
            item = draw_object(len(objects), height, width, settings.patterns, generator)
            if not stands_apart(item, objects, height, width):
                continue
            added = np.concatenate([full, outline(item, height, width)[None]])
            if fits(added, settings.occlusion):
                objects.append(item)
                full = added
            if len(objects) == count:
                return Scene(scene_id, split, height, width, tuple(objects), seen(full))


def draw_object(object_id: int, height: int, width: int, patterns: bool, generator: np.random.Generator) -> SceneObject:
    """A random object that lies within the image."""
    size = str(generator.choice(SIZES))
    radius = float(generator.uniform(*RADIUS[size])) * min(height, width)
    return SceneObject(
        object_id,
        shape=str(generator.choice(SHAPES)),
        colour=str(generator.choice(list(COLOURS))),
        size=size,
        pattern=str(generator.choice(PATTERNS, p=(0.6, 0.2, 0.2))) if patterns else "plain",
        row=float(generator.uniform(radius, height - radius)),
        column=float(generator.uniform(radius, width - radius)),
        radius=radius,
    )


def stands_apart(item: SceneObject, others: Iterable[SceneObject], height: int, width: int) -> bool:
    """Whether an object's centre keeps `LEAST_APART` from every other one's."""
    least = LEAST_APART * max(height, width)
    return all(max(abs(item.row - other.row), abs(item.column - other.column)) >= least for other in others)


def fits(full: np.ndarray, occlusion: bool) -> bool:
    """Whether outlines bool [objects, height, width], in drawing order, may lie as they do: apart, or with enough of each in sight."""
    if not occlusion:
        return bool(full.sum(axis=0).max() <= 1)
    return bool((seen(full).sum(axis=(1, 2)) >= LEAST_VISIBLE * full.sum(axis=(1, 2))).all())


def seen(full: np.ndarray) -> np.ndarray:
    """bool [objects, height, width], what later outlines leave of each."""
    in_front = np.zeros_like(full)
    for index in range(len(full) - 1):
        in_front[index] = full[index + 1 :].any(axis=0)
    return full & ~in_front
