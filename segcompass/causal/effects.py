"""Effects of edits: paired differences to the unedited prediction, and their clustered intervals (design section 9)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from segcompass.stats.bootstrap import ratio_interval

COLUMNS = (
    "sample_id",
    "image",
    "benchmark",
    "split",
    "variant",
    "seed",
    "m",
    "edit",
    "edited_concepts",
    "slots",
    "iou_before",
    "iou_after",
    "target_iou_change",
    "changed_pixels",
    "confidence_change",
)
"""One row a sample and edit; `edit` is top, random or identity."""
EDITS = ("top", "random", "identity")


def effect(before: np.ndarray, after: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """What an edit did to a mask: bool [height, width] each, `target` not empty."""
    old, new = _iou(before, target), _iou(after, target)
    return {"iou_before": old, "iou_after": new, "target_iou_change": new - old, "changed_pixels": 1.0 - _iou(before, after)}


def summarised(effects: pd.DataFrame, samples: int, level: float, seed: int) -> pd.DataFrame:
    """Mean effects with bootstrap intervals clustered by image, per benchmark, split, m, contrast and outcome.

    Contrasts: `top`, `random` and `identity` alone, and `top-random`, the paired difference that says whether the listed concepts matter
    more than others like them.
    """
    rows = []
    for (benchmark, split, m), group in effects.groupby(["benchmark", "split", "m"], sort=True):
        for outcome in ("target_iou_change", "changed_pixels"):
            for contrast, values, images in _contrasts(group, outcome):
                low, high = ratio_interval(values, np.ones(len(values)), images, samples, level, seed)
                row: dict[str, Any] = {"benchmark": benchmark, "split": split, "m": m, "contrast": contrast, "outcome": outcome}
                rows.append(row | {"mean": float(values.mean()), "low": low, "high": high, "n": len(values)})
    return pd.DataFrame(rows, columns=["benchmark", "split", "m", "contrast", "outcome", "mean", "low", "high", "n"])


def _contrasts(group: pd.DataFrame, outcome: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    wide = group.pivot(index=["sample_id", "image"], columns="edit", values=outcome).sort_index()
    images = wide.index.get_level_values("image").to_numpy()
    for edit in EDITS:
        yield edit, wide[edit].to_numpy(), images
    yield "top-random", (wide["top"] - wide["random"]).to_numpy(), images


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / union) if union else 1.0
