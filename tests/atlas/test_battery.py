"""Means of the causal battery for the run that is shown, from measurements that are written by hand."""

import json
from pathlib import Path

import pytest

from segcompass.atlas.battery import battery_figures
from segcompass.causal.measurements import Measurement, write_measurements
from segcompass.study.analysis import BootstrapSettings

BOOTSTRAP = BootstrapSettings(samples=200, level=0.9, seed=0)


def artefact(folder: Path, seed: int, values: list[float]) -> Path:
    folder.mkdir()
    named = ("swap", "attribute", "colour", "cause", "pairs", "test")
    rows = [Measurement(*named, f"s{number}", f"p{number}", value) for number, value in enumerate(values)]
    rows += [Measurement("swap", "attribute", "colour", "cause_iou", "pairs", "test", "s0", "p0", 0.3)]
    write_measurements(rows, [], folder)
    (folder / "run.json").write_text(json.dumps({"wildcards": {"variant": "reference", "seed": str(seed)}}))
    return folder


def test_only_the_run_that_is_shown_counts(tmp_path: Path) -> None:
    folders = [artefact(tmp_path / "a", 0, [1, 1, 1, 0]), artefact(tmp_path / "b", 1, [0, 0])]
    (row,) = battery_figures(folders, "reference", 0, BOOTSTRAP)
    assert (row["intervention"], row["arm"], row["at"], row["measure"]) == ("swap", "attribute", "colour", "cause")
    assert row["mean"] == pytest.approx(0.75) and 0 <= row["low"] < 0.75 < row["high"] <= 1
    assert (row["samples"], row["images"]) == (4, 4)


def test_a_run_without_battery_has_no_figures(tmp_path: Path) -> None:
    assert battery_figures([artefact(tmp_path / "a", 1, [0.5])], "reference", 0, BOOTSTRAP) == []
    assert battery_figures([], "reference", 0, BOOTSTRAP) == []
