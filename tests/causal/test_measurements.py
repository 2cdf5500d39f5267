"""The files of the causal battery: what is written is read back, over runs; what is undefined is absent; what is wrong is refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from segcompass.causal.measurements import Balance, Measurement, geometric_mean, read_balances, read_measurements, write_measurements
from segcompass.errors import InputError


def row(value: float, at: str = "4", sample: str = 'a, "quoted"\r', **changes: str) -> Measurement:
    known = {"intervention": "curve", "arm": "top_zero", "at": at, "measure": "kept", "benchmark": "refcoco+", "split": "NA"}
    return Measurement(**(known | changes), sample_id=sample, image="x.jpg", value=value)


def run(folder: Path, seed: int, rows: list[Measurement], balances: list[Balance]) -> Path:
    folder.mkdir()
    write_measurements(rows, balances, folder)
    (folder / "run.json").write_text(json.dumps({"wildcards": {"variant": "sae_only", "seed": str(seed)}}))
    return folder


def test_what_is_written_is_read_back_over_runs(tmp_path: Path) -> None:
    balances = [Balance("curve", "matched_zero", "4", "mass", kind, ratio) for kind, ratio in (("thought", 1.25), ("visual", math.nan))]
    first = run(tmp_path / "a", 3, [row(0.1), row(math.nan, at=""), row(0.0, at="all")], balances)
    second = run(tmp_path / "b", 4, [row(0.5, arm="matched_zero")], [])
    found = read_measurements([first, second])
    assert found["value"].tolist() == [0.1, 0.0, 0.5] and found["seed"].tolist() == [3, 3, 4]
    assert set(found["variant"]) == {"sae_only"} and found["at"].tolist() == ["4", "all", "4"]
    assert found["split"].tolist() == ["NA"] * 3 and set(found["sample_id"]) == {'a, "quoted"\r'}
    assert found["arm"].tolist() == ["top_zero", "top_zero", "matched_zero"]
    ratios = read_balances([first, second])
    assert ratios.drop(columns=["variant", "seed"]).values.tolist() == [["curve", "matched_zero", "4", "mass", "thought", 1.25]]
    assert not len(read_measurements([]))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([row(1.0), row(2.0)], "stands there twice"),
        ([row(1.0, intervention="guess")], "none of curve"),
        ([row(1.0, arm="Top")], "lower-case words"),
        ([row(1.0, measure="kept score")], "lower-case words"),
    ],
)
def test_what_cannot_be_told_apart_is_not_written(tmp_path: Path, rows: list[Measurement], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        write_measurements(rows, [], tmp_path)


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", 0, [row(1.0)], [])
    (folder / "measurements.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no table of the causal battery"):
        read_measurements([folder])


def test_geometric_means_leave_out_what_has_no_logarithm() -> None:
    assert geometric_mean(np.array([0.5, 2.0, 8.0, np.nan, np.inf, 0.0])) == pytest.approx(2.0)
    assert math.isnan(geometric_mean(np.array([np.nan])))


def test_an_infinite_measurement_is_neither_published_nor_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"measurements\.csv: row 2: value: is inf; nothing of that kind is published"):
        write_measurements([row(1.0), row(math.inf, at="all")], [], tmp_path)
    assert not (tmp_path / "measurements.csv").exists()
    folder = run(tmp_path / "a", 0, [row(0.125)], [])
    table = folder / "measurements.csv"
    table.write_text(table.read_text().replace("0.125", "inf"))
    with pytest.raises(InputError, match="row 1: value: is inf; delete"):
        read_measurements([folder])
