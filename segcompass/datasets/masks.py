"""Segmentations of annotations as COCO run-length codes, checked before the C code of pycocotools sees them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

Rle = dict[str, Any]
"""COCO compressed RLE: `{"size": [height, width], "counts": ascii text}`."""


def encode(mask: np.ndarray) -> Rle:
    """RLE of a bool mask [height, width]."""
    return _text(coco.encode(np.asfortranarray(mask, dtype=np.uint8)))


def decode(rle: Rle) -> np.ndarray:
    """bool [height, width] of an RLE."""
    return np.asarray(coco.decode(rle), dtype=bool)


def empty(height: int, width: int) -> Rle:
    """RLE of a mask without a pixel."""
    return encode(np.zeros((height, width), bool))


def union(rles: Sequence[Rle], height: int, width: int) -> Rle:
    """RLE of the union; empty for none."""
    return _text(coco.merge(list(rles), intersect=False)) if rles else empty(height, width)


def from_segmentation(segmentation: Any, height: int, width: int) -> Rle:
    """RLE of a COCO `segmentation`: polygons (those of fewer than 6 numbers dropped), compressed or uncompressed RLE.

    Raises:
        ValueError: what is wrong with it.
    """
    if isinstance(segmentation, dict):
        return checked_rle(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise ValueError("is neither polygons nor RLE")
    polygons = []
    for polygon in segmentation:
        if not isinstance(polygon, list) or not all(_finite(value) for value in polygon):
            raise ValueError("holds a polygon with a value that is no finite number")
        if len(polygon) >= 6:
            polygons.append([float(value) for value in polygon[: len(polygon) // 2 * 2]])
    if not polygons:
        return empty(height, width)
    limit = 4.0 * max(height, width)
    clipped = [[min(max(value, -limit), limit) for value in polygon] for polygon in polygons]
    return union([_text(rle) for rle in coco.frPyObjects(clipped, height, width)], height, width)


def checked_rle(rle: Any, height: int, width: int) -> Rle:
    """A compressed RLE equal to `rle`, whose counts are known to fill exactly height x width pixels.

    Raises:
        ValueError: wrong size, or counts that do not sum to the image.
    """
    if not isinstance(rle, dict) or rle.get("size") != [height, width]:
        raise ValueError(f"size is not [{height}, {width}]")
    counts = rle.get("counts")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    runs = _runs(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise ValueError("counts are neither compressed text nor a list of run lengths")
    if sum(runs) != height * width:
        raise ValueError(f"counts sum to {sum(runs)}, the image has {height * width} pixels")
    return _text(coco.frPyObjects({"size": [height, width], "counts": runs}, height, width))


def _runs(text: str) -> list[int]:
    """Run lengths of COCO's compressed text: five bits a character, differences to the run before the last."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise ValueError("counts hold a character that compressed RLE does not have")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("counts end in the middle of a number")
    return runs


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _text(rle: Rle) -> Rle:
    counts = rle["counts"]
    return {"size": [int(side) for side in rle["size"]], "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
