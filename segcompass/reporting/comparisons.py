"""Tables that compare variants: `full` between its bounds, paired differences to it, and what its reward signal adds.

Differences are paired by expression and by the seeds that both variants have, and their intervals say what other seeds and other images
would give (`segcompass.stats.crossed`). With one common seed there is no interval. A star needs Holm's correction within a family: all
variants against `full` in one column (of one split), and for what reinforcement adds all benchmarks in one column.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from segcompass.protocols.scoring import HEADLINE
from segcompass.reporting.metrics import ORACLE, ORACLE_THOUGHT
from segcompass.reporting.table import Table, Value
from segcompass.reporting.tables import CELLS, REFERENCE, SHORT, seed_values
from segcompass.stats.crossed import Grid
from segcompass.stats.families import holm

BOUNDED = {"refcoco": ("cIoU",), "refcoco+": ("cIoU",), "refcocog": ("cIoU",), "grefcoco": ("gIoU", "N-acc"), "reasonseg": ("gIoU",)}
"""Benchmark -> the metrics that its bounds are shown in."""
MEASURES = {"thought accuracy": "thought_correct", "gIoU": "iou"}
"""Measure -> the record column whose mean it is."""
COMMON_SEEDS = "common seeds"


def bounds(summary: pd.DataFrame, variants: Mapping[str, Any]) -> Table:
    """`full` between the same heads untrained and its own heads with the gold thought, on every split.

    Args:
        summary: metrics over seeds.
        variants: the joint settings of each variant; the lower bound is the one that differs from `full` by 0 steps alone.
    """
    lower = _like_full(variants, steps=0)
    columns = [f"{lower or 'untrained'} (lower bound)", REFERENCE, f"{REFERENCE}, gold thought (upper bound)"]
    caption = (
        f"`{REFERENCE}` between two bounds: the heads as they are drawn, before any step, and the trained run that is given the gold"
        f" thought to read in place of its own. {CELLS}"
    )
    table = Table("bounds", caption, columns)
    for benchmark, metrics in BOUNDED.items():
        for split in dict.fromkeys(summary.loc[summary["benchmark"] == benchmark, "split"]):
            for metric in metrics:
                place = (benchmark, split, HEADLINE[benchmark], metric)
                values = seed_values(summary, lower, {columns[0]: place}) if lower else {}
                values |= seed_values(summary, REFERENCE, {columns[1]: place, columns[2]: (benchmark, split, ORACLE_THOUGHT, metric)})
                table.add(f"{SHORT[benchmark]} {split} {metric}", values)
    return table


def variants(summary: pd.DataFrame, records: pd.DataFrame, bootstrap: Mapping[str, Any]) -> Table:
    """Every variant on every split, and its paired differences to `full`."""
    names = [f"{measure}{end}" for measure in reversed(MEASURES) for end in ("", f" - {REFERENCE}")]
    caption = (
        f"Variants on every split. {CELLS} {_paired_caption(bootstrap, 'a column of one split')} `oracle_slots` picks slots with the truth."
    )
    table = Table("variants", caption, [*names, "valid answers", "oracle_slots gIoU (uses the truth)"])
    splits = ((name, split, part) for name, rows in _by_benchmark(records).items() for split, part in rows.groupby("split", sort=False))
    for benchmark, split, part in splits:
        headline = HEADLINE[benchmark]
        places = {measure: (benchmark, str(split), headline, measure) for measure in MEASURES}
        places |= {"valid answers": (benchmark, str(split), headline, "format")}
        places |= {"oracle_slots gIoU (uses the truth)": (benchmark, str(split), ORACLE, "gIoU")}
        gaps = {f"{measure} - {REFERENCE}": _gaps(part, column, bootstrap) for measure, column in MEASURES.items()}
        for variant in dict.fromkeys(summary["variant"]):
            values = seed_values(summary, variant, places) | {name: gap[variant] for name, gap in gaps.items() if variant in gap}
            table.add(f"{SHORT[benchmark]} {split}, {variant}", values)
    return table


def differences(records: pd.DataFrame, bootstrap: Mapping[str, Any]) -> Table:
    """The paired differences of every variant to `full` at a glance: gIoU of each benchmark, thought accuracy over all of them."""
    tested = tested_expressions(records)
    parts = {f"{SHORT[benchmark]} gIoU": (part, "iou") for benchmark, part in _by_benchmark(tested).items()}
    parts |= {"thought accuracy": (tested, "thought_correct")}
    caption = f"Variants minus `{REFERENCE}`, all test splits of a benchmark together. {_paired_caption(bootstrap, 'a column')}"
    table = Table("differences", caption, list(parts))
    table.add(f"{REFERENCE} itself", {name: _over_seeds(part, REFERENCE, column) for name, (part, column) in parts.items()})
    gaps = {name: _gaps(part, column, bootstrap) for name, (part, column) in parts.items()}
    for variant in dict.fromkeys(records["variant"]):
        if variant != REFERENCE:
            table.add(variant, {name: gap[variant] for name, gap in gaps.items() if variant in gap})
    return table


def reinforcement(records: pd.DataFrame, variants: Mapping[str, Any], bootstrap: Mapping[str, Any]) -> Table:
    """What the reward signal adds: `full` minus the same training without it, on the test splits of each benchmark.

    Args:
        records: of all runs.
        variants: the joint settings of each variant; the one without reward differs from `full` by a policy weight of 0 alone.
        bootstrap: of the intervals.
    """
    other = _like_full(variants, policy={**variants[REFERENCE]["policy"], "weight": 0.0})
    columns = [f"{measure}{end}" for measure in MEASURES for end in (f", {REFERENCE}", f", {other or 'no reward'}", " gained")]
    parts = _by_benchmark(tested_expressions(records))
    rows: dict[str, dict[str, Value]] = {}
    for benchmark, part in parts.items():
        values = {}
        for measure, column in MEASURES.items():
            values[f"{measure}, {REFERENCE}"] = _over_seeds(part, REFERENCE, column)
            if other:
                values[f"{measure}, {other}"] = _over_seeds(part, other, column)
                values[f"{measure} gained"] = paired(part, REFERENCE, other, column, bootstrap)
        rows[benchmark] = values
    above: dict[str, set[str]] = {}
    for measure in MEASURES:
        family = {benchmark: values[f"{measure} gained"] for benchmark, values in rows.items() if f"{measure} gained" in values}
        above[measure] = set()
        for benchmark, value in starred(family, bootstrap["level"]).items():
            rows[benchmark][f"{measure} gained"] = value
            if value.marked and value.mean > 0:
                above[measure].add(benchmark)
    counts = [*((measure, len(found)) for measure, found in above.items()), ("both", len(set.intersection(*above.values())))]
    caption = (
        f"What reinforcement adds: `{REFERENCE}` minus `{other or 'no reward'}`, all test splits of a benchmark together."
        f" {_paired_caption(bootstrap, 'a column')} Above 0, with a star: "
        + ", ".join(f"{measure} on {count} of {len(rows)} benchmarks" for measure, count in counts)
        + "."
    )
    table = Table("reinforcement", caption, columns)
    for benchmark, values in rows.items():
        table.add(SHORT[benchmark], values)
    return table


def tested_expressions(records: pd.DataFrame) -> pd.DataFrame:
    """Records of all splits but `val`, which settings are chosen on; of a benchmark without another split, those of `val`."""
    held_out = records["split"] != "val"
    return records[held_out | ~held_out.groupby(records["benchmark"]).transform("any")]


def paired(records: pd.DataFrame, variant: str, reference: str, column: str, bootstrap: Mapping[str, Any]) -> Value:
    """Mean of a record column of one variant minus that of another, in points, over the same expressions and common seeds; NaN without."""
    mine, others = (records[records["variant"] == name] for name in (variant, reference))
    common = sorted(set(mine["seed"]) & set(others["seed"]))
    if not common or mine[column].isna().any() or others[column].isna().any():
        return Value(math.nan)
    a, b = (part.pivot(index=["sample_id", "image"], columns="seed", values=column)[common].sort_index() for part in (mine, others))
    grid = Grid(a.index.get_level_values("image").to_numpy())
    found = (grid.mean(np.asarray(a, float).T, COMMON_SEEDS) - grid.mean(np.asarray(b, float).T, COMMON_SEEDS)).estimate(bootstrap["level"])
    return Value(100 * found.value, seeds=len(common), low=100 * found.low, high=100 * found.high, p=found.p)


def starred(family: Mapping[str, Value], level: float) -> dict[str, Value]:
    """A family of differences with corrected p-values, marked where they are at most 1 - level."""
    corrected = holm(np.array([value.p for value in family.values()]))
    return {
        name: replace(value, p_holm=float(p), marked=bool(p <= 1 - level))
        for (name, value), p in zip(family.items(), corrected, strict=True)
    }


def _gaps(records: pd.DataFrame, column: str, bootstrap: Mapping[str, Any]) -> dict[str, Value]:
    """One family: every other variant against the reference."""
    others = [variant for variant in dict.fromkeys(records["variant"]) if variant != REFERENCE]
    return starred({variant: paired(records, variant, REFERENCE, column, bootstrap) for variant in others}, bootstrap["level"])


def _over_seeds(records: pd.DataFrame, variant: str, column: str) -> Value:
    runs = 100 * records[records["variant"] == variant].groupby("seed")[column].mean()
    return Value(float(runs.mean()), float(runs.std()), int(runs.count()))


def _by_benchmark(records: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {benchmark: part for benchmark in HEADLINE if len(part := records[records["benchmark"] == benchmark])}


def _like_full(variants: Mapping[str, Any], **changes: Any) -> str | None:
    """The variant whose settings are those of `full` but for some changes; None where the study has none."""
    return next((name for name, settings in variants.items() if settings == {**variants[REFERENCE], **changes}), None)


def _paired_caption(bootstrap: Mapping[str, Any], family: str) -> str:
    return (
        f"Differences in points, paired over the same expressions and common seeds, with {100 * bootstrap['level']:.0f} % intervals"
        f" over seeds and images; * marks those whose p-value, corrected by Holm within {family}, is at most {1 - bootstrap['level']:.2g}."
    )
