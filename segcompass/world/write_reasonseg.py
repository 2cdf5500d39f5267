"""Writes expressions as ReasonSeg: an image and a JSON of labelled polygons each, with `ignore` regions and two-point `flag` shapes."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segcompass.world.instructions import Expression
from segcompass.world.scene import Scene
from segcompass.world.write_coco import image_path


def sample_name(scene: Scene, number: int) -> str:
    """File stem of the `number`-th expression of a scene."""
    return f"{scene.scene_id:08d}_{number}"


def write_sample(root: Path, split: str, scene: Scene, number: int, expression: Expression) -> None:
    """Writes `<split>/<name>.json` and copies the image beside it."""
    folder = root / "ReasonSeg" / split
    folder.mkdir(parents=True, exist_ok=True)
    name = sample_name(scene, number)
    shapes = [shape for target in expression.targets for shape in _shapes(scene.visible[target], "target", name)]
    shapes += [shape for other in expression.doubtful for shape in _shapes(scene.visible[other], "ignore", name)]
    shapes.append(_shape([[1.0, 1.0], [2.0, 2.0]], "flag", name))
    content = {"text": list(expression.sentences), "is_sentence": True, "shapes": shapes}
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    shutil.copyfile(root / image_path(scene), folder / f"{name}.jpg")


def write_explanations(root: Path, rows: list[dict[str, Any]]) -> None:
    """`explanatory/train.json`: image, query and the explanation of each training expression."""
    folder = root / "ReasonSeg" / "explanatory"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.json").write_text(json.dumps(rows), encoding="utf-8")


def _shapes(mask: np.ndarray, label: str, name: str) -> list[dict[str, Any]]:
    """Outer outlines of a mask: as in the originals, polygons fill the hole of a ring."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [_shape(contour[:, 0, :].astype(float).tolist(), label, name) for contour in contours]


def _shape(points: list[list[float]], label: str, name: str) -> dict[str, Any]:
    return {
        "label": label,
        "labels": [label],
        "shape_type": "polygon",
        "image_name": f"{name}.jpg",
        "points": points,
        "group_id": None,
        "group_ids": [None],
        "flags": {},
    }
