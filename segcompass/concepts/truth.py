"""What lies under each visual token: from a scene's complete truth, or from annotated instances where there is no scene."""

from collections.abc import Sequence

import numpy as np

from segcompass.backbone.training.scenes import TrainingScene, cell_targets
from segcompass.concepts.coverage import pixels_under
from segcompass.datasets.masks import Rle, decode, union
from segcompass.world.lexicon import ATTRIBUTES

VALUES = {name: list(values) for name, values in ATTRIBUTES.items()}
"""Attribute -> its values, in the order of the class numbers."""
LEAST_COVERED = 0.5
"""Share of a token that annotated instances must cover for it to be on an object."""


def scene_truth(scene: TrainingScene, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(on an object, bool [v]; class numbers of that object, int [v, a], -1 on the background) for tokens with pixel boxes [v, 4].

    The rule by which a token belongs to an object is the one that the vision tower is trained with.
    """
    classes, _ = cell_targets(scene, boxes)
    return classes[:, 0] >= 0, classes


def instance_truth(instances: Sequence[Rle], boxes: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """As `scene_truth`, from annotated instances of the image: attributes are unknown, so the class numbers are [v, 0]."""
    covered, area = pixels_under(boxes, decode(union(instances, height, width)))
    return (area > 0) & (covered >= LEAST_COVERED * area), np.zeros((len(boxes), 0), int)
