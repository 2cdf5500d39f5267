"""Bounds, paired differences and what reinforcement adds, against values computed by hand."""

import math
from typing import Any

import pandas as pd
import pytest

from segcompass.reporting import comparisons
from segcompass.reporting.metrics import ORACLE_THOUGHT, over_seeds, run_metrics
from segcompass.reporting.table import Table, Value
from tests.reporting.test_report import BOOTSTRAP, records

FULL = {"steps": 9, "policy": {"weight": 1.0, "group": 4}}
SETTINGS = {
    "full": FULL,
    "seg_only": FULL | {"policy": {"weight": 0.0, "group": 4}},
    "untrained": FULL | {"steps": 0},
    "other": FULL | {"steps": 0, "policy": {"weight": 0.0, "group": 4}},
}


def placed(frame: pd.DataFrame, benchmark: str, split: str, **columns: Any) -> pd.DataFrame:
    """Records moved to a benchmark and split, their samples and images renamed so that splits share none."""
    renamed = {name: frame[name] + f"_{benchmark}_{split}" for name in ("sample_id", "image")}
    return frame.assign(benchmark=benchmark, split=split, **renamed, **columns)


def rows(table: Table) -> dict[str, dict[str, Value]]:
    return {label: values for label, _, values in table.rows}


def test_full_stands_between_its_bounds() -> None:
    # The gold thought leads to 80 of 100 pixels on eleven expressions; the twelfth, without target, is accepted wrongly: IoU 0.
    absent = records("full", 0)["no_target"] == 1
    taught = {
        "oracle_thought_intersection": (~absent) * 80.0,
        "oracle_thought_union": (~absent) * 100.0 + absent * 50.0,
        "oracle_thought_iou": (~absent) * 0.8,
        "oracle_thought_predicted_no_target": 0.0,
    }
    runs = [records("full", 0).assign(**taught), records("full", 1, 0.1).assign(**taught), records("untrained", 0, -0.25)]
    summary = over_seeds(run_metrics(pd.concat(runs, ignore_index=True)))
    found = rows(comparisons.bounds(summary, SETTINGS))
    assert list(found) == ["gR val gIoU", "gR val N-acc"]
    lower, full, upper = found["gR val gIoU"].values()
    assert lower.mean == pytest.approx(100 / 12) and lower.seeds == 1
    assert full.mean == pytest.approx(100 * (11 * 0.3 + 1) / 12) and full.sd == pytest.approx(100 * 11 / 12 * 0.1 / math.sqrt(2))
    assert upper.mean == pytest.approx(100 * 11 * 0.8 / 12) and upper.seeds == 2
    assert [value.mean for value in found["gR val N-acc"].values()] == [100.0, 100.0, 0.0]


def test_runs_that_read_no_gold_thought_have_no_such_metric() -> None:
    assert ORACLE_THOUGHT not in set(run_metrics(records("full", 0))["protocol"])


def test_variants_are_paired_over_common_seeds() -> None:
    both = pd.concat([records("full", 0), records("full", 1, 0.1), records("dense", 0, -0.1)], ignore_index=True)
    found = rows(comparisons.variants(over_seeds(run_metrics(both)), both, BOOTSTRAP))
    difference = found["gR val, dense"]["gIoU - full"]
    # Seed 0 alone is common: -10 points on eleven of twelve expressions, 0 on the last.
    assert difference.mean == pytest.approx(-10 * 11 / 12) and difference.seeds == 1
    assert math.isnan(difference.low) and not difference.marked, "one seed says nothing about others"
    same = found["gR val, dense"]["thought accuracy - full"]
    assert same.mean == 0 and not same.marked
    assert "gIoU - full" not in found["gR val, full"] and found["gR val, full"]["gIoU"].seeds == 2


def test_intervals_hold_over_seeds_and_stars_after_correction() -> None:
    # Seeds of `dense` lie 6, 8 and 10 points below `full`; `twin` is `full` itself. Two tests in the family.
    runs = [records(name, seed, gain) for name in ("full", "twin") for seed, gain in enumerate((0.0, 0.1, 0.2))]
    runs += [records("dense", seed, gain) for seed, gain in enumerate((-0.06, 0.02, 0.1))]
    both = pd.concat(runs, ignore_index=True)
    difference, twin = (rows(comparisons.differences(both, BOOTSTRAP))[name]["gR gIoU"] for name in ("dense", "twin"))
    assert difference.mean == pytest.approx(-8 * 11 / 12) and difference.seeds == 3
    assert difference.low < -10 * 11 / 12 and difference.high > -6 * 11 / 12, "wider than the seeds themselves, of which there are three"
    assert difference.p_holm == pytest.approx(2 * difference.p) and difference.marked == (2 * difference.p <= 0.05)
    assert (twin.mean, twin.p, twin.p_holm, twin.marked) == (0, 1, 1, False)
    found = comparisons.starred({"a": Value(1.0, p=0.03), "b": Value(1.0, p=0.04), "c": Value(1.0)}, 0.95)
    assert [value.marked for value in found.values()] == [False, False, False], "each alone would be"
    assert comparisons.starred({"a": Value(1.0, p=0.03)}, 0.95)["a"].marked


def test_variants_stand_in_the_order_of_the_other_tables() -> None:
    full = records("full", 0)
    both = pd.concat([placed(full, "grefcoco", "val"), placed(full, "refcoco", "val"), placed(full, "refcoco", "testA")], ignore_index=True)
    found = rows(comparisons.variants(over_seeds(run_metrics(both)), both, BOOTSTRAP))
    assert list(found) == ["R val, full", "R testA, full", "gR val, full"]


def test_differences_take_the_test_splits_together() -> None:
    runs = []
    for variant, gains in (("full", (0, 0, 0)), ("dense", (0.5, -0.1, -0.2))):
        runs += [placed(records(variant, 0, gain), "grefcoco", split) for split, gain in zip(("val", "testA", "testB"), gains, strict=True)]
        runs.append(placed(records(variant, 0), "refcocog", "val"))
    found = rows(comparisons.differences(pd.concat(runs, ignore_index=True), BOOTSTRAP))
    assert found["dense"]["gR gIoU"].mean == pytest.approx(-15 * 11 / 12), "val, which settings are chosen on, is left out"
    assert found["dense"]["Rg gIoU"].mean == 0, "where val is all there is, it is taken"
    assert found["full itself"]["gR gIoU"].mean == pytest.approx(100 * (11 * 0.25 + 1) / 12)


def test_what_is_not_known_on_photographs_is_a_dash() -> None:
    both = pd.concat([records("full", 0), records("dense", 0)], ignore_index=True).assign(thought_correct=math.nan)
    assert math.isnan(rows(comparisons.differences(both, BOOTSTRAP))["dense"]["thought accuracy"].mean)


def test_reinforcement_counts_the_benchmarks_whose_interval_lies_above_zero() -> None:
    runs = []
    for variant, seed in (("full", 0), ("full", 1), ("seg_only", 0), ("seg_only", 1), ("untrained", 0)):
        rewarded = variant == "full"
        runs.append(placed(records(variant, seed, 0.1 * rewarded), "refcoco", "testA", thought_correct=float(rewarded)))
        runs.append(placed(records(variant, seed, 0.1 * rewarded), "refcocog", "test"))
        runs.append(placed(records(variant, seed, -0.1 * rewarded), "grefcoco", "testA"))
    table = comparisons.reinforcement(pd.concat(runs, ignore_index=True), SETTINGS, BOOTSTRAP)
    found = rows(table)
    assert list(found) == ["R", "Rg", "gR"]
    assert found["R"]["thought accuracy gained"].mean == 100.0 and found["R"]["thought accuracy, seg_only"].mean == 0.0
    assert found["gR"]["gIoU gained"].mean == pytest.approx(-10 * 11 / 12) and found["gR"]["gIoU gained"].marked
    assert "thought accuracy on 1 of 3 benchmarks, gIoU on 2 of 3 benchmarks, both on 1 of 3 benchmarks." in table.caption
    assert "9.2 [" in table.markdown() and "] *" in table.markdown()


def test_a_study_without_those_variants_has_dashes() -> None:
    full, summary = records("full", 0), over_seeds(run_metrics(records("full", 0)))
    assert list(rows(comparisons.bounds(summary, {"full": FULL}))["gR val gIoU"]) == ["full"]
    assert "gIoU gained" not in rows(comparisons.reinforcement(full, {"full": FULL}, BOOTSTRAP))["gR"]
