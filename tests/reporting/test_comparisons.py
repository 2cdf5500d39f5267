"""Bounds, families of tests and what training signals add, against values computed by hand."""

import math
from typing import Any

import pandas as pd
import pytest

from segcompass.claims.contrasts import ALL, Contrasts
from segcompass.claims.contrasts import tested_expressions as held_out
from segcompass.reporting import comparisons
from segcompass.reporting.metrics import ORACLE_THOUGHT, over_seeds, run_metrics
from segcompass.reporting.table import UNKNOWN, Table, Value
from tests.reporting.test_report import records


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
    found = rows(comparisons.bounds(summary, "full", "untrained"))
    assert list(found) == ["gR val gIoU", "gR val N-acc"]
    lower, full, upper = found["gR val gIoU"].values()
    assert lower.mean == pytest.approx(100 / 12) and lower.seeds == 1
    assert full.mean == pytest.approx(100 * (11 * 0.3 + 1) / 12) and full.sd == pytest.approx(100 * 11 / 12 * 0.1 / math.sqrt(2))
    assert upper.mean == pytest.approx(100 * 11 * 0.8 / 12) and upper.seeds == 2
    assert [value.mean for value in found["gR val N-acc"].values()] == [100.0, 100.0, 0.0]


def test_runs_that_read_no_gold_thought_have_no_such_metric() -> None:
    assert ORACLE_THOUGHT not in set(run_metrics(records("full", 0))["protocol"])


def contrasts_of(*runs: pd.DataFrame) -> Contrasts:
    return Contrasts(held_out(pd.concat(runs, ignore_index=True)))


def test_differences_are_paired_over_common_seeds() -> None:
    contrasts = contrasts_of(records("full", 0), records("full", 1, 0.1), records("dense", 0, -0.1))
    difference = contrasts.difference("dense", "full", "gIoU", "grefcoco")
    # Seed 0 alone is common: -10 points on eleven of twelve expressions, 0 on the last.
    assert difference.value == pytest.approx(-0.1 * 11 / 12)
    found = difference.estimate(0.95)
    assert found.seeds == 1 and math.isnan(found.low) and math.isnan(found.p), "one seed says nothing about others"
    assert contrasts.difference("dense", "full", "thought accuracy", "grefcoco").value == 0
    assert contrasts.difference("dense", "nobody", "gIoU", "grefcoco") is None
    assert contrasts.mean("full", "gIoU", "grefcoco").value == pytest.approx((11 * 0.3 + 1) / 12)


def test_intervals_hold_over_seeds_and_stars_after_correction_within_the_family() -> None:
    # Seeds of `dense` lie 6, 8 and 10 points below `full`; `twin` is `full` itself. Two tests in the family.
    runs = [records(name, seed, gain) for name in ("full", "twin") for seed, gain in enumerate((0.0, 0.1, 0.2))]
    runs += [records("dense", seed, gain) for seed, gain in enumerate((-0.06, 0.02, 0.1))]
    families = {"one": {"measure": "gIoU", "each": "benchmark", "tests": ["dense - full", "twin - full"]}}
    families |= {"two": {"measure": "gIoU", "each": "all", "tests": ["dense - full"]}}
    results = comparisons.tested_families(contrasts_of(*runs), families, 0.95)
    dense, twin, alone = results
    assert [(one.family, one.test) for one in results] == [
        ("one", "dense - full, grefcoco"),
        ("one", "twin - full, grefcoco"),
        ("two", "dense - full"),
    ]
    assert dense.estimate == pytest.approx(-8 * 11 / 12) and dense.seeds == 3 and dense.images == 6
    assert dense.low < -10 * 11 / 12 and dense.high > -6 * 11 / 12, "wider than the seeds themselves, of which there are three"
    assert dense.p_holm == pytest.approx(2 * dense.p) and alone.p_holm == alone.p == dense.p
    assert (twin.estimate, twin.p, twin.p_holm) == (0, 1, 1)
    table = comparisons.families_table(results, {"one": "gIoU", "two": "gIoU"}, 0.95)
    shown = rows(table)
    assert next(iter(shown)) == "one: dense - full, grefcoco (gIoU)"
    assert shown["one: dense - full, grefcoco (gIoU)"]["difference"].marked == (2 * dense.p <= 0.05)
    assert not shown["one: twin - full, grefcoco (gIoU)"]["difference"].marked
    counts = [cell.strip() for cell in table.markdown().splitlines()[-1].split("|")[-3:-1]]
    assert counts == ["3", "6"], "seeds and images are counted"


def test_variants_stand_in_the_order_of_the_other_tables() -> None:
    full = records("full", 0)
    both = pd.concat([placed(full, "grefcoco", "val"), placed(full, "refcoco", "val"), placed(full, "refcoco", "testA")], ignore_index=True)
    found = rows(comparisons.variants(over_seeds(run_metrics(both))))
    assert list(found) == ["R val, full", "R testA, full", "gR val, full"]
    assert (
        found["gR val, full"]["gIoU"].mean == pytest.approx(100 * (11 * 0.25 + 1) / 12)
        and found["gR val, full"]["valid answers"].mean == 100
    )


def test_differences_take_the_test_splits_together_and_count_benchmarks_alike() -> None:
    runs = []
    for variant, gains in (("full", (0, 0, 0)), ("dense", (0.5, -0.1, -0.2))):
        runs += [placed(records(variant, 0, gain), "grefcoco", split) for split, gain in zip(("val", "testA", "testB"), gains, strict=True)]
        runs.append(placed(records(variant, 0), "refcocog", "val"))
    contrasts = contrasts_of(*runs)
    grefcoco, refcocog, every = (contrasts.difference("dense", "full", "gIoU", place).value for place in ("grefcoco", "refcocog", ALL))
    assert grefcoco == pytest.approx(-0.15 * 11 / 12), "val, which settings are chosen on, is left out"
    assert refcocog == 0, "where val is all there is, it is taken"
    assert every == pytest.approx(grefcoco / 2), "twice as many expressions count no more"


def test_what_is_not_known_on_photographs_is_a_dash() -> None:
    contrasts = contrasts_of(*[records(name, 0).assign(thought_correct=math.nan) for name in ("full", "dense")])
    assert contrasts.difference("dense", "full", "thought accuracy", "grefcoco") is None
    families = {"one": {"measure": "thought accuracy", "each": "all", "tests": ["dense - full"]}}
    (result,) = comparisons.tested_families(contrasts, families, 0.95)
    assert math.isnan(result.estimate) and math.isnan(result.p_holm)
    assert UNKNOWN in comparisons.families_table([result], {"one": "thought accuracy"}, 0.95).markdown()


def test_the_share_of_the_gap_that_is_closed_by_hand() -> None:
    # `seg_only` at 25 points, its gold thoughts at 75, `full` at 40: of 50 points to gain 15 are gained.
    runs = []
    for seed in range(3):
        for name, gain in (("full", 0.15), ("seg_only", 0.0)):
            run = placed(records(name, seed, gain), "refcoco", "testA", thought_considered=float(name == "full"))
            run = run[run["no_target"] == 0]
            runs.append(run.assign(oracle_thought_iou=0.75 if name == "seg_only" else math.nan))
    found = rows(comparisons.reinforcement(contrasts_of(*runs), [("full", "seg_only")], 0.95))
    assert list(found) == ["full - seg_only, R", "full - seg_only, all"]
    for values in found.values():
        assert values["gIoU"].mean == pytest.approx(40) and values["gIoU gained"].mean == pytest.approx(15)
        assert values["share of the gold-thought gap closed"].mean == pytest.approx(30)
        assert values["considered thoughts gained"].mean == 100 and values["thought accuracy gained"].mean == 0


def test_without_gold_thoughts_there_is_no_share() -> None:
    runs = [records(name, seed) for name in ("full", "seg_only") for seed in range(2)]
    (values,) = {
        label: row
        for label, row in rows(comparisons.reinforcement(contrasts_of(*runs), [("full", "seg_only")], 0.95)).items()
        if "gR" in label
    }.values()
    assert "share of the gold-thought gap closed" not in values and values["gIoU gained"].mean == 0


def test_a_study_without_a_lower_bound_has_dashes() -> None:
    summary = over_seeds(run_metrics(records("full", 0)))
    assert list(rows(comparisons.bounds(summary, "full", None))["gR val gIoU"]) == ["full"]
