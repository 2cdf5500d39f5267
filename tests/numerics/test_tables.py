"""No infinite number stands in a table that is published or read, and what is not defined is an empty cell."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segcompass.errors import InputError
from segcompass.numerics.tables import finite_frame, finite_row
from segcompass.protocols.records import COLUMNS, read_records, write_records


def record(**changes: object) -> dict[str, object]:
    return {name: {"str": "x", "int64": 1, "float64": 0.5}[kind] for name, kind in COLUMNS.items()} | changes


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("-inf")])
def test_a_row_names_what_it_cannot_hold(value: float, tmp_path: Path) -> None:
    finite_row({"a": 1, "b": "", "c": "nan", "d": True, "e": np.float64(2)}, tmp_path, "s0")
    with pytest.raises(InputError, match=f"s0: b: would be {float(value)}; nothing of that kind is published"):
        finite_row({"a": 1, "b": value}, tmp_path, "s0")


def test_a_frame_may_have_empty_cells_but_no_infinite_ones(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": ["inf", "nan"], "number": [1, 2], "score": [np.nan, 0.5], "threshold": [np.inf, 1.0]})
    finite_frame(frame, tmp_path, "look", but=("threshold",))
    with pytest.raises(InputError, match=r"row 1: threshold: is inf; look"):
        finite_frame(frame, tmp_path, "look")
    with pytest.raises(InputError, match=r"row 1: score: is nan; look"):
        finite_frame(frame, tmp_path, "look", filled=("score",), but=("threshold",))


def test_records_are_checked_when_they_are_written_and_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    with pytest.raises(InputError, match=r"records\.csv: s7: heat_iou: would be nan"):
        write_records([record(), record(sample_id="s7", heat_iou=float("nan"))], path)
    for column, cell, found in (("sae_mse", "inf", "inf"), ("iou", "", "nan")):
        write_records([record(), record(**{column: 0.125})], path)
        path.write_text(path.read_text().replace("0.125", cell))
        with pytest.raises(InputError, match=f"row 2: {column}: is {found}; rerun the stage that evaluates"):
            read_records(path)
