"""`numbers.json`: every number of a study in one nested file, for prose and for other programs."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

Numbers = dict[str, Any]


def study_numbers(
    summary: pd.DataFrame,
    correlations: pd.DataFrame,
    curves: pd.DataFrame,
    dictionaries: Mapping[str, Mapping[str, Any]],
    scores: pd.DataFrame,
    purity: pd.DataFrame,
    comparisons: Mapping[str, pd.DataFrame],
    ledger: Mapping[str, pd.DataFrame],
) -> Numbers:
    """Metrics as fractions; a standard deviation or interval that does not exist is null.

    Args:
        summary: rows of `over_seeds`.
        correlations: correlations.csv.
        curves: rows of `curve_points`.
        dictionaries: name -> metrics.json.
        scores: metrics.csv of every scored dictionary, with its name in column `sae`.
        purity: purity.csv, likewise.
        comparisons: the tables of bounds and differences by name, in their own unit.
        ledger: its tables `claims`, `false_positives` and `metric_audit`; a claim that is not tested has no number.
    """
    metrics: Numbers = {}
    for row in _rows(summary):
        place = _nested(metrics, row["variant"], row["benchmark"], row["split"], row["protocol"])
        place[row["metric"]] = {"mean": _number(row["mean"]), "sd": _number(row["sd"]), "seeds": int(row["seeds"])}
    correlation: Numbers = {}
    for row in _rows(correlations):
        place = _nested(correlation, row["variant"], row["benchmark"], f"{row['quality']} / {row['accuracy']}")
        known = [key for key in row if key.startswith(("pearson", "spearman", "partial", "null")) and not key.endswith("_starred")]
        place |= {key: _number(row[key]) for key in known}
        place |= {key: int(row[key]) for key in ("seeds", "images", "n")}
    points: Numbers = {}
    for row in _rows(curves):
        place = _nested(points, row["variant"], row["benchmark"], row["ablation"], f"{row['edit']} {row['way']}", f"{row['fraction']:g}")
        place |= {key: _number(row[key]) for key in ("f", "low", "high")} | {key: int(row[key]) for key in ("seeds", "images", "samples")}
    saes = {
        name: {kind: {key: _number(value) for key, value in part.items()} for kind, part in found.items()}
        for name, found in dictionaries.items()
    }
    concepts: Numbers = {}
    for row in _rows(scores):
        _nested(concepts, row["sae"], "fidelity", row["token_type"])[row["metric"]] = _contrast(row)
    for row in _rows(purity):
        _nested(concepts, row["sae"], "purity", row["attribute"], row["value"])[row["metric"]] = _contrast(row)
    compared: Numbers = {}
    for name, table in comparisons.items():
        for row in _rows(table):
            place = _nested(compared, name, row["row"], row["column"])
            place |= {key: _number(row[key]) for key in ("mean", "sd", "low", "high", "p", "p_holm")}
    return {
        "claims": _judged(ledger),
        "metrics": metrics,
        "comparisons": compared,
        "correlation": correlation,
        "curves": points,
        "dictionaries": saes,
        "concepts": concepts,
    }


def _judged(ledger: Mapping[str, pd.DataFrame]) -> Numbers:
    """Verdicts counted, effects and twins of claims, rates of families, what the audit measured."""
    claims = ledger["claims"]
    found: Numbers = {"verdicts": {str(verdict): int(count) for verdict, count in claims["verdict"].value_counts(sort=False).items()}}
    for row in _rows(claims[claims["smallest"].notna()]):
        effect = {"value": row["estimate"]} | {key: row[key] for key in ("low", "high", "p", "p_holm", "smallest", "seeds", "images")}
        twin = {"value": row["twin_estimate"]} | {key: row[f"twin_{key}"] for key in ("low", "high", "p", "p_holm")}
        place = _nested(found, "stated", row["claim"])
        place |= {"effect": {key: _number(value) for key, value in effect.items()}}
        place |= {"null twin": {key: _number(value) for key, value in twin.items()}}
    for row in _rows(ledger["false_positives"]):
        _nested(found, "false positives")[row["family"]] = {key: _number(row[key]) for key in ("permutations", "rate", "starred")}
    for row in _rows(ledger["metric_audit"].drop(columns=["claims", "fails", "decides"], errors="ignore")):
        _nested(found, "audit")[row["metric"]] = {key: _number(value) for key, value in row.items() if key != "metric"}
    return found


def _contrast(row: dict[str, Any]) -> Numbers:
    names = ("trained", "random", "shuffled", "difference", "difference_low", "difference_high")
    return {name: _number(row[name]) for name in names} | {"tells_trained_from_random": bool(row["tells_trained_from_random"])}


def _nested(tree: Numbers, *keys: Any) -> Numbers:
    for key in keys:
        tree = tree.setdefault(str(key), {})
    return tree


def _number(value: Any) -> float | None:
    number = math.nan if pd.isna(value) else float(value)
    return None if math.isnan(number) else round(number, 6)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
