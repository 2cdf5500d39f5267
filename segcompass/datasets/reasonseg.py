"""ReasonSeg: one JSON beside each image; shapes are painted by area, later (smaller) ones over earlier ones.

Rasterising follows LISA: outline and filled polygon on truncated int32 points, descending area, target 1, ignore 255. Labels do too:
whatever its capitals, one that is `flag` is skipped, one that contains `ignore` is ignored, every other one is a target. Of shapes of one
area, the first in the file is painted last: LISA reverses an ascending `argsort`, which leaves ties to NumPy and, in new versions, to the
processor; here it is the stable one, which for so few shapes is what it was when the benchmark was published.
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
from segcompass.datasets.splits import AbsentSplitError
from segcompass.errors import InputError

TARGET, IGNORE = 1, 255
FARTHEST = 1 << 20
"""Coordinates beyond it are faults; points somewhat outside the image are not."""


def samples(root: Path, split: str) -> Iterator[Sample]:
    """Samples in order of file names: all texts of train, `text[0]` of val and test.

    Raises:
        InputError: a file is missing or breaks its format.
        AbsentSplitError: there is no such folder, or nothing in it.
    """
    folder = root / "ReasonSeg" / split
    if not folder.is_dir() or not any(folder.iterdir()):
        raise AbsentSplitError(folder, "split", "is not there; name a split of this data root (layout: docs/data.md)")
    files = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))  # no hidden ones, which archives of macOS hold
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
    areas = [int(_drawn(np.zeros((height, width), np.uint8), points, 1).sum()) for _, points in polygons]
    labels = np.zeros((height, width), np.uint8)
    for index in np.argsort(areas, kind="stable")[::-1]:
        label, points = polygons[index]
        _drawn(labels, points, label)
    return labels


def _drawn(labels: np.ndarray, points: np.ndarray, label: int) -> np.ndarray:
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
        name = shape["label"].lower()
        if name == "flag":
            continue
        points = shape.get("points")
        if not isinstance(points, list) or not points or not all(_is_point(point) for point in points):
            raise InputError(
                source, f"shapes.{index}.points", "are not pairs of finite numbers within reach of an image; download it again"
            )
        found.append((IGNORE if "ignore" in name else TARGET, np.array(points, dtype=np.float64).astype(np.int32)))
    return found


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(type(value) in (int, float) and abs(value) < FARTHEST for value in point)  # false of NaN and infinity too
    )
