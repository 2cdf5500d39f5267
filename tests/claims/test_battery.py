"""Figures of the battery against values computed by hand, on tables of a few rows."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from segcompass.claims.battery import Battery
from segcompass.claims.evidence import Counted, Stated
from segcompass.study.claims import BatteryEstimand

COLUMNS = ["variant", "seed", "arm", "at", "measure", "benchmark", "sample_id", "value"]
BASE: dict[str, Any] = {"kind": "battery", "of": "a", "intervention": "curve", "figure": "mean", "measure": "iou", "over": None}
BASE |= {"arm": "top", "control": None, "at": None}


def figure(rows: list[tuple], variants: tuple[str, ...] = ("a",), population: str = "all", **more: Any) -> Any:
    frame = pd.DataFrame(rows, columns=COLUMNS).assign(intervention="curve", split="test")
    frame["image"] = frame["sample_id"]
    texts = [name for name in frame if name not in ("seed", "value")]
    battery = Battery(frame.astype(dict.fromkeys(texts, "category")), 50, 20, 0.95, 0)
    return battery.evidence(BatteryEstimand(**(BASE | more)), variants, population)


def value(*arguments: Any, **more: Any) -> float:
    found = figure(*arguments, **more)
    return float(found.effect.value if isinstance(found, Counted) else found.found.value)


def rows(values: dict[tuple, float]) -> list[tuple]:
    """(variant, arm, at, measure, benchmark, sample) -> value, in two seeds that differ by nothing."""
    return [
        (variant, seed, arm, at, measure, place, sample, number)
        for (variant, arm, at, measure, place, sample), number in values.items()
        for seed in (0, 1)
    ]


def test_means_count_benchmarks_alike_and_arms_and_variants_in_pairs() -> None:
    table = {("a", "top", "", "iou", "x", "s1"): 1.0, ("a", "top", "", "iou", "x", "s2"): 3.0, ("a", "top", "", "iou", "y", "s3"): 8.0}
    assert value(rows(table)) == 5.0 and value(rows(table), population="x") == 2.0
    # The control of s2 was not measured, so s2 does not count: 1 - 0.5 on x, 8 - 6 on y.
    control = {("a", "matched", "", "iou", "x", "s1"): 0.5, ("a", "matched", "", "iou", "y", "s3"): 6.0}
    assert value(rows(table | control), control="matched") == pytest.approx((0.5 + 2.0) / 2)
    other = {("b", *key[1:]): number / 2 for key, number in table.items()}
    assert value(rows(table | other), ("a", "b")) == pytest.approx(2.5)
    assert math.isnan(value(rows(table), ("b",))), "nothing measured it"
    assert value(rows(table | {("a", "top", "4", "iou", "x", "s1"): 9.0}), at="4") == 9.0


def test_areas_are_over_the_sizes_that_every_arm_has() -> None:
    top = {("a", "top", str(at), "iou", "x", "s1"): number for at, number in ((1, 0.0), (2, 1.0), (8, 1.0))}
    # log2: from 0 to 1 the mean of 0 and 1, from 1 to 3 always 1: (0.5 + 2) / 3.
    assert value(rows(top), figure="area") == pytest.approx(2.5 / 3)
    control = {("a", "matched", str(at), "iou", "x", "s1"): 0.2 for at in (1, 2)}
    assert value(rows(top | control), figure="area", control="matched") == pytest.approx(0.5 - 0.2)
    assert value(rows({("a", "top", "3", "iou", "x", "s1"): 0.7}), figure="area") == pytest.approx(0.7), "one size is its value"


def test_a_share_is_of_sums_and_what_it_is_a_share_of_has_no_place() -> None:
    table = {("a", "top", "thought", "shapley", "x", f"s{i}"): part for i, part in ((1, 0.1), (2, 0.5))}
    table |= {("a", "top", "visual", "shapley", "x", f"s{i}"): 9.0 for i in (1, 2)}
    table |= {("a", "top", "", "total", "x", f"s{i}"): whole for i, whole in ((1, 0.4), (2, 0.8))}
    assert value(rows(table), figure="share", measure="shapley", over="total", at="thought") == pytest.approx(0.6 / 1.2)


def test_disentanglement_is_half_of_cause_and_isolation() -> None:
    table = {("a", "top", "colour", "cause", "x", "s1"): 1.0, ("a", "top", "colour", "cause", "x", "s2"): 0.0}
    table |= {("a", "top", "size", "isolation", "x", "s1"): 1.0, ("a", "top", "size", "isolation", "x", "s2"): 1.0}
    assert value(rows(table), figure="disentanglement", measure="cause", over="isolation") == 0.75


def test_lines_by_hand() -> None:
    """Predicted 1, 2, 3, observed 2, 2, 5: slope (2 + 4 + 15) / 14; squares of errors 1 + 0 + 4, of observed about 3: 1 + 1 + 4."""
    table = {}
    for sample, predicted, observed in (("s1", 1.0, 2.0), ("s2", 2.0, 2.0), ("s3", 3.0, 5.0)):
        table[("a", "top", "1", "predicted", "x", sample)] = predicted
        table[("a", "top", "1", "observed", "x", sample)] = observed
    line = {"measure": "observed", "over": "predicted"}
    assert value(rows(table), figure="slope", **line) == pytest.approx(21 / 14)
    assert value(rows(table), figure="r2", **line) == pytest.approx(1 - 5 / 6)
    # Sizes of an edit are edits of their own, not averaged: one more at size 4 that is met exactly.
    table |= {("a", "top", "4", "predicted", "x", "s1"): 3.0, ("a", "top", "4", "observed", "x", "s1"): 3.0}
    assert value(rows(table), figure="r2", **line) == pytest.approx(1 - 5 / 6)


def test_predictions_that_are_given_to_other_images_say_nothing() -> None:
    generator = np.random.default_rng(0)
    told = {f"s{i}": float(number) for i, number in enumerate(generator.normal(1.0, 1.0, 60))}
    table = {("a", "top", "1", "predicted", "x", name): number for name, number in told.items()}
    table |= {("a", "top", "1", "observed", "x", name): number + 0.1 for name, number in told.items()}
    found = figure(rows(table), figure="r2", measure="observed", over="predicted")
    assert isinstance(found, Stated) and found.found.value > 0.98
    assert len(found.twins.values) == 20 and found.twins.values.max() < 0.1
