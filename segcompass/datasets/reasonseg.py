"""ReasonSeg: one JSON beside each image; shapes are painted by area, later (smaller) ones over earlier ones.

Rasterising follows LISA: outline and filled polygon on truncated int32 points, descending area, target 1, ignore 255, `flag` skipped.
A file without a polygon is kept as a sample with an empty target (`check` reports it), never dropped.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segcompass.datasets.files import inside, read_json
from segcompass.datasets.images import image_size
from segcompass.datasets.masks import encode
from segcompass.datasets.samples import Sample, SampleIds, checked_text
from segcompass.errors import InputError

TARGET, IGNORE = 1, 255
FARTHEST = 1 << 20
"""Coordinates beyond it are faults; points somewhat outside the image are not."""


def samples(root: Path, split: str) -> Iterator[Sample]:
    """Samples in order of file names: all texts of train, `text[0]` of val and test.

    Raises:
        InputError: a file is missing or breaks its format.
    """
    folder = root / "ReasonSeg" / split
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(folder, "", "holds no annotation; see docs/data.md for the layout")
    ids = SampleIds()
    for source in files:
        raw = read_json(source, ("utf-8", "cp1252"))
        if not isinstance(raw, dict):
            raise InputError(source, "", "is not an object with `text` and `shapes`; download it again")
        path = inside(root, f"ReasonSeg/{split}", f"{source.stem}.jpg", source, "image")
        height, width = image_size(path)
        painted = paint(_polygons(raw.get("shapes"), source), height, width)
        target, ignore = painted == TARGET, painted == IGNORE
        texts = raw.get("text")
        if not isinstance(texts, list) or not texts:
            raise InputError(source, "text", "is not a list of texts; download it again")
        for index, text in enumerate(texts if split == "train" else texts[:1]):
            checked = checked_text(text, source, f"text.{index}")
            mask = encode(target)
            sample_id = f"reasonseg_{split}_{source.stem}" + (f"_t{index}" if index else "")
            yield Sample(
                ids.add(sample_id, source, f"text.{index}", source.name),
                str(path.relative_to(root)),
                height,
                width,
                checked,
                False,
                mask,
                encode(ignore) if ignore.any() else None,
                (mask,) if target.any() else (),
            )


def paint(polygons: list[tuple[int, np.ndarray]], height: int, width: int) -> np.ndarray:
    """Label map uint8 [height, width] of (label, int32 points [n, 2]) polygons, painted in descending order of their own area."""
    drawn = []
    for label, points in polygons:
        mask = np.zeros((height, width), np.uint8)
        cv2.polylines(mask, [points], True, 1, 1)
        cv2.fillPoly(mask, [points], 1)
        drawn.append((int(mask.sum()), label, points))
    labels = np.zeros((height, width), np.uint8)
    for _, label, points in sorted(drawn, key=lambda entry: -entry[0]):
        cv2.polylines(labels, [points], True, label, 1)
        cv2.fillPoly(labels, [points], label)
    return labels


def _polygons(shapes: Any, source: Path) -> list[tuple[int, np.ndarray]]:
    if not isinstance(shapes, list):
        raise InputError(source, "shapes", "is not a list; download it again")
    found = []
    for index, shape in enumerate(shapes):
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            raise InputError(source, f"shapes.{index}", "is not a shape with a label; download it again")
        if "flag" in shape["label"]:
            continue
        points = shape.get("points")
        if not isinstance(points, list) or not points or not all(_is_point(point) for point in points):
            raise InputError(
                source, f"shapes.{index}.points", "are not pairs of finite numbers within reach of an image; download it again"
            )
        label = IGNORE if "ignore" in shape["label"] else TARGET
        found.append((label, np.array(points, dtype=np.float64).astype(np.int32)))
    return found


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(type(value) in (int, float) and abs(value) < FARTHEST for value in point)  # false of NaN and infinity too
    )
