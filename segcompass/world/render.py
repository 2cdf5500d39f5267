"""Draws a scene: gradient and noise backgrounds, jittered colours, stripes and dots."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from segcompass.world.lexicon import COLOURS
from segcompass.world.scene import Scene, SceneObject

NOISE = 9.0
"""Standard deviation of the background noise in grey levels."""


JPEG_QUALITY = 95
"""Of the data set's files."""


@dataclass(frozen=True)
class Chance:
    """Every random number of a picture. It depends on the image's size and the number of objects, and on nothing that they are."""

    background: np.ndarray
    """float [height, width, 3]."""
    tints: tuple[np.ndarray, ...]
    """Offset of each object's colour, float [3]."""
    grains: tuple[np.ndarray, ...]
    """Noise of each object's surface, float [height, width, 3]."""

    def only(self, kept: list[int]) -> "Chance":
        """The random numbers of the picture with some of its objects alone."""
        return Chance(self.background, tuple(self.tints[index] for index in kept), tuple(self.grains[index] for index in kept))


def render(scene: Scene, generator: np.random.Generator) -> np.ndarray:
    """uint8 [height, width, 3]; each object covers exactly its visible mask."""
    return paint(scene, draw_chance(scene, generator))


def draw_chance(scene: Scene, generator: np.random.Generator) -> Chance:
    """The random numbers of a scene's picture, which fit any other scene of its size and number of objects as well."""
    background = _background(scene.height, scene.width, generator)
    drawn = [(generator.normal(0, 8, 3), generator.normal(0, 3, background.shape)) for _ in scene.objects]
    return Chance(background, tuple(tint for tint, _ in drawn), tuple(grain for _, grain in drawn))


def paint(scene: Scene, chance: Chance) -> np.ndarray:
    """uint8 [height, width, 3], the picture that the scene and its random numbers make."""
    image = chance.background.copy()
    for item, mask, tint, grain in zip(scene.objects, scene.visible, chance.tints, chance.grains, strict=True):
        base = np.array(COLOURS[item.colour], float) + tint
        shade = np.where(_pattern(item, *np.nonzero(mask)), 0.55, 1.0)
        image[mask] = base * shade[:, None] + grain[mask]
    return np.asarray(image.clip(0, 255).round().astype(np.uint8))


def as_jpeg(picture: np.ndarray) -> np.ndarray:
    """A picture as it comes back from a file of the data set, uint8 [height, width, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(buffer))


def _background(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    first, second = generator.uniform(70, 180, (2, 1)) + generator.normal(0, 6, (2, 3))
    angle = generator.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:height, :width]
    along = np.cos(angle) * rows / height + np.sin(angle) * columns / width
    share = ((along - along.min()) / np.ptp(along))[..., None]
    return np.asarray(first * (1 - share) + second * share + generator.normal(0, NOISE, (height, width, 3)))


def _pattern(item: SceneObject, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """bool [n], which of the object's pixels its pattern darkens."""
    period = max(4.0, item.radius / 2)
    y, x = (rows - item.row) / period, (columns - item.column) / period
    if item.pattern == "striped":
        return np.asarray((x + y) % 1 < 0.4)
    if item.pattern == "dotted":
        return np.asarray(np.hypot(y % 1 - 0.5, x % 1 - 0.5) < 0.28)
    return np.zeros(len(rows), bool)
