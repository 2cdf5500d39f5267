"""The schema of evaluation records: one row a sample of the manifest, in its order, a failure being a row with a status.

Booleans are written 0 and 1; a figure that is not defined for a sample (a coverage where there is no target) is an empty cell.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from segcompass.errors import InputError
from segcompass.numerics.tables import finite_frame, finite_row
from segcompass.protocols.csv_rows import MADE_WITH, RowFile

SplitLists = Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]]
"""Experiment -> variant -> benchmark -> the splits that its runs are evaluated on."""
COLUMNS: dict[str, str] = {
    "sample_id": "str",
    "image": "str",
    "benchmark": "str",
    "split": "str",
    "experiment": "str",
    "variant": "str",
    "seed": "int64",
    "text": "str",
    "answer": "str",
    "status": "str",
    "format_valid": "int64",
    "no_target": "int64",
    "predicted_no_target": "int64",
    "intersection": "int64",
    "union": "int64",
    "iou": "float64",
    "truth_area": "int64",
    "predicted_area": "int64",
    "ignore_area": "int64",
    "seg_zero_intersection": "int64",
    "seg_zero_union": "int64",
    "seg_zero_iou": "float64",
    "oracle_intersection": "float64",
    "oracle_union": "float64",
    "oracle_iou": "float64",
    "oracle_thought_intersection": "float64",
    "oracle_thought_union": "float64",
    "oracle_thought_iou": "float64",
    "oracle_thought_predicted_no_target": "float64",
    "confidences": "str",
    "n_targets": "int64",
    "text_length": "int64",
    "height": "int64",
    "width": "int64",
    "thought_correct": "float64",
    "thought_considered": "float64",
    "heat_iou": "float64",
    "sae_mse": "float64",
    "l0": "float64",
    "coverage": "float64",
    "random_token_coverage": "float64",
    "random_sae_mse": "float64",
    "random_coverage": "float64",
}
"""Column -> type; the concept-quality columns, and what only some variants are evaluated for, may be empty."""
FILLED = ("iou", "seg_zero_iou")
"""Figures that every sample has."""


def write_records(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes records; every row must have exactly the schema's columns.

    Raises:
        InputError: naming sample and column, if a number is not finite.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(RowFile(file), list(COLUMNS), lineterminator=MADE_WITH)
        writer.writeheader()
        for row in rows:
            if set(row) != set(COLUMNS):
                raise ValueError(f"record columns differ from the schema: {sorted(set(row) ^ set(COLUMNS))}")
            finite_row(row, path, str(row["sample_id"]))
            writer.writerow({name: int(value) if isinstance(value, bool) else value for name, value in row.items()})


def read_records(path: Path) -> pd.DataFrame:
    """Records with the schema's types; empty cells of figures are NaN.

    Raises:
        InputError: the file is missing, damaged or of another schema, or holds a number that is not finite.
    """
    try:
        frame = pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values={n: [""] for n, t in COLUMNS.items() if t == "float64"})
    except (OSError, ValueError) as error:
        raise InputError(path, "", f"holds no evaluation records ({error}); rerun the stage that evaluates") from error
    if list(frame.columns) != list(COLUMNS):
        raise InputError(path, "header", "is not that of the record schema; rerun the stage that evaluates")
    finite_frame(frame, path, "rerun the stage that evaluates", FILLED)
    return frame


def read_runs(folders: Sequence[Path], runs: Sequence[tuple[str, str, int]], splits: SplitLists) -> pd.DataFrame:
    """Records of several runs on their splits, in this order.

    Args:
        folders: artefacts of the evaluating stages, one a run.
        runs: the (experiment, variant, seed) that each must be.
        splits: experiment -> variant -> benchmark -> the splits that its runs were evaluated on.

    Raises:
        InputError: a run or a split is missing, or the folders are not those of the runs, in their order.
    """
    wrong = "and the study disagree about the run {}; give one folder for each run of the study, in its order"
    if len(folders) != len(runs):
        raise InputError(None, "--evaluate", wrong.format(tuple(runs[min(len(folders), len(runs) - 1)])))
    found = []
    for folder, (experiment, variant, seed) in zip(folders, runs, strict=True):
        for benchmark, names in splits[experiment][variant].items():
            records = [read_records(folder / benchmark / split / "records.csv") for split in names]
            held = {run for part in records for run in part[["experiment", "variant", "seed"]].itertuples(index=False, name=None)}
            if held != {(experiment, variant, seed)}:
                raise InputError(None, "--evaluate", wrong.format((experiment, variant, seed)))
            found += records
    return pd.concat(found, ignore_index=True)
