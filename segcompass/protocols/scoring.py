"""Scores of one expression and of a split under each named convention; every metric is a ratio of two sums over expressions.

Masks stay run-length coded: areas and intersections come from the codes, whatever the image's size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pycocotools import mask as coco

from segcompass.datasets.masks import Rle
from segcompass.protocols.no_target import DECIDING, counts

PROTOCOLS = ("refcoco", "gres", "gsva", "reasonseg_lisa", "reasonseg_seg_zero")
HEADLINE = {
    "refcoco": "refcoco",
    "refcoco+": "refcoco",
    "refcocog": "refcoco",
    "grefcoco": "gres",
    "reasonseg": "reasonseg_lisa",
}
"""Benchmark -> the protocol of its headline numbers."""
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class SampleScore:
    """Pixel counts and IoU of one expression."""

    intersection: int
    union: int
    iou: float
    truth_area: int
    predicted_area: int
    no_target: bool
    predicted_no_target: bool


def score_sample(
    protocol: str, target: Rle, ignore: Rle | None, no_target: bool, prediction: Rle | None, predicted_no_target: bool
) -> SampleScore:
    """Scores one expression.

    Args:
        protocol: one of `PROTOCOLS`.
        target: truth; empty where there is none.
        ignore: ReasonSeg's ignore region: left out of both masks by `reasonseg_lisa`, part of the truth for `reasonseg_seg_zero`.
        no_target: the expression has no target.
        prediction: predicted union; None is an empty one.
        predicted_no_target: the explicit decision.
    """
    truth = target
    if protocol == "reasonseg_seg_zero" and ignore is not None:
        truth = coco.merge([target, ignore])
    predicted_area = int(coco.area(prediction)) if prediction is not None else 0
    truth_area = int(coco.area(truth))
    seen_area, intersection = predicted_area, 0
    if predicted_area:
        intersection = int(coco.area(coco.merge([prediction, truth], intersect=True))) if truth_area else 0
        if protocol == "reasonseg_lisa" and ignore is not None:
            seen_area -= int(coco.area(coco.merge([prediction, ignore], intersect=True)))
    union = seen_area + truth_area - intersection
    found = counts(protocol, intersection, union, seen_area, no_target, predicted_no_target)
    return SampleScore(*found, truth_area, predicted_area, no_target, predicted_no_target)


Columns = Mapping[str, Any] | pd.DataFrame
"""Columns `intersection, union, iou, truth_area, no_target, predicted_no_target` of n expressions: a dict of arrays or a DataFrame."""


def metric_terms(columns: Columns, protocol: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Metric -> (numerator [n], denominator [n]); the metric is the ratio of their sums."""
    iou, union = _numbers(columns, "iou"), _numbers(columns, "union")
    absent, rejected = (_numbers(columns, name) > 0 for name in ("no_target", "predicted_no_target"))
    present = (_numbers(columns, "truth_area") > 0).astype(float)
    terms = {"gIoU": (iou, np.ones_like(iou)), "cIoU": (_numbers(columns, "intersection"), union)}
    for threshold in THRESHOLDS:
        terms[f"Pr@{threshold}"] = (present * (iou >= threshold), present)
    if protocol in DECIDING:
        terms["N-acc"] = ((absent & rejected).astype(float), absent.astype(float))
        terms["T-acc"] = ((~absent & ~rejected).astype(float), (~absent).astype(float))
    return terms


def summarise(columns: Columns, protocol: str) -> dict[str, float]:
    """`n` and every metric as a fraction; NaN where no expression counts for it."""
    found: dict[str, float] = {"n": len(_numbers(columns, "iou"))}
    for name, (numerator, denominator) in metric_terms(columns, protocol).items():
        total = float(denominator.sum())
        found[name] = float(numerator.sum()) / total if total else float("nan")
    return found


def _numbers(columns: Columns, name: str) -> np.ndarray:
    return np.asarray(columns[name], dtype=float)
