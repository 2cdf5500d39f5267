"""Segmentations of annotations as COCO run-length codes, checked before the C code of pycocotools sees them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

LONGEST_NUMBER = 7
"""Characters of one run length: 35 bits."""

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
            polygons.append(polygon[: len(polygon) // 2 * 2])
    if not polygons:
        return empty(height, width)
    limit = 4.0 * max(height, width)
    clipped = [[float(min(max(value, -limit), limit)) for value in polygon] for polygon in polygons]
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
        counts = counts.decode("latin-1")
    if isinstance(counts, str):
        _check_sum(_runs(counts), height, width)
        return {"size": [height, width], "counts": counts}
    if not isinstance(counts, list) or not all(type(run) is int and 0 <= run <= height * width for run in counts):
        raise ValueError("counts are neither compressed text nor a list of run lengths within the image")
    _check_sum(np.array(counts, np.int64), height, width)
    return _text(coco.frPyObjects({"size": [height, width], "counts": counts}, height, width))


def _check_sum(runs: np.ndarray, height: int, width: int) -> None:
    if (runs < 0).any():
        raise ValueError("counts hold a negative run")
    if (total := int(runs.sum())) != height * width:
        raise ValueError(f"counts sum to {total}, the image has {height * width} pixels")


def areas(counts: Sequence[str], pixels: Sequence[int]) -> np.ndarray | None:
    """Areas [n] of compressed counts that fill their images' pixels exactly; None if any of them does not.

    One pass over all of them: checking one at a time (`checked_rle`, which says what is wrong) costs ten times as much.
    """
    if not all(counts):
        return None
    try:
        runs, per_text = run_lengths(counts)
    except ValueError:
        return None
    first = np.cumsum(per_text) - per_text
    by_parity = [_sums(runs[parity::2], (first - parity + 1) // 2) for parity in (0, 1)]
    on = np.where(first % 2 == 0, by_parity[1], by_parity[0]) * (per_text > 1)
    off = np.where(first % 2 == 0, by_parity[0], by_parity[1])
    if runs.min() < 0 or runs.max() > max(pixels) or (on + off != pixels).any():
        return None
    return on


def _sums(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Sums of the pieces of `values` that begin at `first`; of an empty piece, anything."""
    return np.add.reduceat(values, np.minimum(first, len(values) - 1)) if len(values) else np.zeros(len(first), np.int64)


def _runs(text: str) -> np.ndarray:
    return run_lengths([text])[0] if text else np.zeros(0, np.int64)


def run_lengths(counts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Run lengths [r] of COCO's compressed texts, none empty, one text behind the other, and how many each has [n].

    A number has five bits a character, least first, bit six says that more follow; from a text's fourth number on, it is the difference
    to the number before the last.

    Raises:
        ValueError: what is wrong with one of them.
    """
    codes = np.frombuffer("".join(counts).encode("utf-8", "surrogatepass"), np.uint8) - np.uint8(48)  # below "0" wraps to the top
    if codes.max() > 63:
        raise ValueError("counts hold a character that compressed RLE does not have")
    last = np.cumsum([len(text) for text in counts]) - 1
    if (codes[last] > 31).any():
        raise ValueError("counts end in the middle of a number")
    ends = np.flatnonzero(codes < 32)
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > LONGEST_NUMBER:
        raise ValueError("counts hold a number that no image needs")
    starts = ends - lengths + 1
    runs = (codes[starts] & 31).astype(np.int64)
    for place in range(1, int(lengths.max())):
        longer = np.flatnonzero(lengths > place)
        runs[longer] += (codes[starts[longer] + place] & 31).astype(np.int64) << (5 * place)
    runs -= ((codes[ends] & 16) > 0) * (1 << (5 * lengths))
    per_text = np.diff(np.searchsorted(ends, last), prepend=-1)
    return _undifferenced(runs, per_text), per_text


def _undifferenced(runs: np.ndarray, per_text: np.ndarray) -> np.ndarray:
    """Run lengths from differences to the number before the last.

    Numbers of one text that depend on each other lie two apart, so two strided cumulative sums over all texts serve, each less what came
    before its text: before its second number for the one chain, its first number included for the other, which begins with the third.
    """
    first = np.cumsum(per_text) - per_text
    total = np.empty_like(runs)
    for parity in (0, 1):
        np.cumsum(runs[parity::2], out=total[parity::2])
    second = np.minimum(first + 1, len(runs) - 1)
    before_odd, before_even = total[second] - runs[second], total[first]
    alone = runs[first]
    for parity in (0, 1):
        mine = np.where(first % 2 == parity, before_even, before_odd)
        begins = (first - parity + 1) // 2
        total[parity::2] -= np.repeat(mine, np.diff(np.append(begins, len(total[parity::2]))))
    total[first] = alone
    return total


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and -math.inf < value < math.inf


def _text(rle: Rle) -> Rle:
    counts = rle["counts"]
    return {"size": [int(side) for side in rle["size"]], "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
