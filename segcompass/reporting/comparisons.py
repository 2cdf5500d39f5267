"""Tables that compare variants: bounds, every variant on every split, the families of tests that the study names, what reward adds.

Intervals are over seeds and images, and stars come after Holm's correction within a family (`segcompass.stats.families`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from segcompass.claims.contrasts import ALL, Contrasts
from segcompass.protocols.scoring import HEADLINE
from segcompass.reporting.metrics import ORACLE, ORACLE_THOUGHT
from segcompass.reporting.table import Table, Value
from segcompass.reporting.tables import CELLS, SHORT, seed_values
from segcompass.stats.crossed import Crossed, Estimate
from segcompass.stats.families import Family, Result, corrected

BOUNDED = {"refcoco": ("cIoU",), "refcoco+": ("cIoU",), "refcocog": ("cIoU",), "grefcoco": ("gIoU", "N-acc"), "reasonseg": ("gIoU",)}
"""Benchmark -> the metrics that its bounds are shown in."""
UNKNOWN = Estimate(math.nan, math.nan, math.nan, math.nan, 0, 0, 0)


def bounds(summary: pd.DataFrame, reference: str, lower: str | None) -> Table:
    """The reference interface between the same one untrained and its own with the gold thought, on every split.

    Args:
        summary: metrics over seeds.
        reference: the reference of the interface experiment.
        lower: the variant that is trained for no step.
    """
    columns = [f"{lower or 'untrained'} (lower bound)", reference, f"{reference}, gold thought (upper bound)"]
    caption = (
        f"`{reference}` between two bounds: the interface as it is drawn, before any step, and the trained one that is given the gold"
        f" thought to read in place of the policy's own. {CELLS}"
    )
    table = Table("bounds", caption, columns)
    for benchmark, metrics in BOUNDED.items():
        for split in dict.fromkeys(summary.loc[summary["benchmark"] == benchmark, "split"]):
            for metric in metrics:
                place = (benchmark, split, HEADLINE[benchmark], metric)
                values = seed_values(summary, lower, {columns[0]: place}) if lower else {}
                values |= seed_values(summary, reference, {columns[1]: place, columns[2]: (benchmark, split, ORACLE_THOUGHT, metric)})
                table.add(f"{SHORT[benchmark]} {split} {metric}", values)
    return table


def variants(summary: pd.DataFrame) -> Table:
    """Every variant on every split."""
    oracle = "oracle_slots gIoU (uses the truth)"
    measures = {"gIoU": "gIoU", "thought accuracy": "thought accuracy", "valid answers": "format"}
    caption = f"Variants of both experiments on every split. {CELLS} `oracle_slots` picks slots with the truth."
    table = Table("variants", caption, [*measures, oracle])
    for benchmark, headline in HEADLINE.items():
        for split in dict.fromkeys(summary.loc[summary["benchmark"] == benchmark, "split"]):
            places = {label: (benchmark, str(split), headline, metric) for label, metric in measures.items()}
            places[oracle] = (benchmark, str(split), ORACLE, "gIoU")
            for variant in dict.fromkeys(summary["variant"]):
                table.add(f"{SHORT[benchmark]} {split}, {variant}", seed_values(summary, variant, places))
    return table


def tested_families(contrasts: Contrasts, families: Mapping[str, Mapping[str, Any]], level: float) -> list[Result]:
    """The results of every family that the study names, in its order.

    Args:
        contrasts: of the tested expressions of all runs.
        families: name -> `measure`, `each` (`benchmark`: a test on each, or `all`: one on their mean) and `tests` (`variant - other`).
        level: of the intervals.
    """
    found = []
    for name, settings in families.items():
        places = contrasts.benchmarks if settings["each"] == "benchmark" else [ALL]
        estimates = {
            _test_name(test, place): _points(contrasts.difference(variant, other, settings["measure"], place), level)
            for test in settings["tests"]
            for variant, other in [test.split(" - ")]
            for place in places
        }
        found += corrected(Family(name, tuple(estimates)), estimates)
    return found


def families_table(results: Sequence[Result], measures: Mapping[str, str], level: float) -> Table:
    """The results as a table, a row a test; `measures`: family -> its measure."""
    columns = ["difference", "p", "p after Holm", "seeds", "images"]
    caption = (
        f"Differences in points on the test splits, paired over seeds and expressions, with {100 * level:.0f} % intervals over seeds and"
        f" images; * marks those whose p-value is at most {1 - level:.2f} after Holm's correction within the family."
    )
    table = Table("families", caption, columns, decimals=3)
    for result in results:
        starred = result.starred(1 - level)
        values = {"difference": Value(result.estimate, low=result.low, high=result.high, marked=starred)}
        values |= {"p": Value(result.p), "p after Holm": Value(result.p_holm)}
        values |= {"seeds": Value(float(result.seeds), whole=True), "images": Value(float(result.images), whole=True)}
        table.add(f"{result.family}: {result.test} ({measures[result.family]})", values)
    return table


def reinforcement(contrasts: Contrasts, pairs: Sequence[tuple[str, str]], level: float) -> Table:
    """What a training signal adds, and the share of the gap to gold thoughts that it closes, on each benchmark and on all.

    Args:
        contrasts: of the tested expressions of all runs.
        pairs: (variant, the one it is compared with).
        level: of the intervals.
    """
    columns = ["gIoU", "gIoU gained", "share of the gold-thought gap closed", "thought accuracy gained", "considered thoughts gained"]
    caption = (
        "What a training signal adds on the test splits, in points, and the share (per cent) of what gold thoughts would add that it"
        f" closes, with {100 * level:.0f} % intervals over seeds and images; a share has none where the gap itself is not told from 0."
    )
    table = Table("reinforcement", caption, columns)
    for variant, other in pairs:
        for place in [*contrasts.benchmarks, ALL]:
            gained = {measure: contrasts.difference(variant, other, measure, place) for measure in _GAINS}
            values = {f"{measure} gained": _value(difference, level) for measure, difference in gained.items()}
            values["gIoU"] = _value(contrasts.mean(variant, "gIoU", place), level)
            gap = contrasts.gap_closed(variant, other, place)
            if gap is not None:
                values[columns[2]] = _shown(_scaled(gap[0].share(gap[1], level)))
            table.add(f"{variant} - {other}, {SHORT.get(place, place)}", values)
    return table


_GAINS = ("gIoU", "thought accuracy", "considered thoughts")


def _test_name(test: str, place: str) -> str:
    return test if place == ALL else f"{test}, {place}"


def _points(measured: Crossed | None, level: float) -> Estimate:
    return UNKNOWN if measured is None else (measured * 100).estimate(level)


def _value(measured: Crossed | None, level: float) -> Value:
    return _shown(_points(measured, level))


def _scaled(share: Estimate) -> Estimate:
    return Estimate(100 * share.value, 100 * share.low, 100 * share.high, share.p, share.seeds, share.images, share.samples)


def _shown(estimate: Estimate) -> Value:
    bounded = math.isfinite(estimate.low) and math.isfinite(estimate.high)
    return Value(
        estimate.value, seeds=estimate.seeds, low=estimate.low if bounded else math.nan, high=estimate.high if bounded else math.nan
    )
