"""The page of benchmarks follows from its record, and what growth is measured on runs; nothing here depends on speed."""

import json
from pathlib import Path

import pytest

from benchmarks import growth, report


def test_the_page_is_what_the_record_makes_of_it() -> None:
    record = json.loads(report.RECORD.read_text(encoding="utf-8"))
    assert set(record) <= set(report.SCRIPTS)
    assert report.PAGE.read_text(encoding="utf-8") == report.page(record)


def test_every_script_is_run_or_is_none_that_times() -> None:
    scripts = {path.name for path in report.FOLDER.glob("*.py")}
    assert scripts == {*report.SCRIPTS, "report.py", "dictionaries.py", "explained.py"}


def test_a_ratio_below_its_bar_is_said() -> None:
    measured = {"processor": "p", "cores": 2, "load": 0.1, "date": "2026-11-28", "versions": {"torch": "2"}}
    record = {"sae.py": measured | {"result": {"relu_l1": {"ratio": 4.49}, "topk": {"ratio": 6.0}}}}
    assert report.missed(record) == ["sae.py: training of a ReLU dictionary, tokens a second: 4.49, below 4.5"]
    text = report.page(record)
    assert "| 4.49 | 4.5 | no |" in text and "| 6.00 | 6 | yes |" in text and "`joint.py`" not in text and "## Growth" not in text


def test_an_exponent_is_that_of_a_power_law() -> None:
    assert growth.exponent((2.0, 3 * 2.0**1.5), (7.0, 3 * 7.0**1.5)) == pytest.approx(1.5)


@pytest.mark.parametrize("core", growth.CORES)
def test_every_core_runs(core: str, tmp_path: Path) -> None:
    assert {law.core for law in growth.LAWS} == set(growth.CORES)
    sizes = {"F": 64, "T": 10, "K": 2, "corpus": 1}
    growth.CORES[core](sizes, tmp_path)()
