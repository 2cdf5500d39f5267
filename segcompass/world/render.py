"""Draws a scene: gradient and noise backgrounds, jittered colours, stripes and dots."""

import numpy as np

from segcompass.world.lexicon import COLOURS
from segcompass.world.scene import Scene, SceneObject

NOISE = 9.0
"""Standard deviation of the background noise in grey levels."""


JPEG_QUALITY = 95
"""Of the data set's files."""


def render(scene: Scene, generator: np.random.Generator) -> np.ndarray:
    """uint8 [height, width, 3]; each object covers exactly its visible mask."""
    image = _background(scene.height, scene.width, generator)
    for item, mask in zip(scene.objects, scene.visible, strict=True):
        base = np.array(COLOURS[item.colour], float) + generator.normal(0, 8, 3)
        shade = np.where(_pattern(item, scene.height, scene.width)[..., None], 0.55, 1.0)
        pixels = base * shade + generator.normal(0, 3, image.shape)
        image = np.where(mask[..., None], pixels, image)
    return np.asarray(image.clip(0, 255).round().astype(np.uint8))


def _background(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    first, second = generator.uniform(70, 180, (2, 1)) + generator.normal(0, 6, (2, 3))
    angle = generator.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:height, :width]
    along = np.cos(angle) * rows / height + np.sin(angle) * columns / width
    share = ((along - along.min()) / np.ptp(along))[..., None]
    return np.asarray(first * (1 - share) + second * share + generator.normal(0, NOISE, (height, width, 3)))


def _pattern(item: SceneObject, height: int, width: int) -> np.ndarray:
    """bool [height, width], the darkened pixels of the object's pattern."""
    rows, columns = np.ogrid[:height, :width]
    period = max(4.0, item.radius / 2)
    y, x = (rows - item.row) / period, (columns - item.column) / period
    if item.pattern == "striped":
        return np.asarray((x + y) % 1 < 0.4)
    if item.pattern == "dotted":
        return np.asarray(np.hypot(y % 1 - 0.5, x % 1 - 0.5) < 0.28)
    return np.zeros((height, width), bool)
