"""Two reports agree where chance explains what lies between them, and the exit code says whether they do."""

import json
from pathlib import Path

import numpy as np
import pytest

from segcompass.cli import main
from segcompass.reporting.agreement import compared, estimates


def report(folder: Path, numbers: object) -> str:
    folder.mkdir()
    (folder / "numbers.json").write_text(json.dumps(numbers))
    return str(folder)


def interval(value: float, reach: float) -> dict[str, float]:
    return {"value": value, "low": value - reach, "high": value + reach}


def test_every_form_of_interval_is_found_at_any_depth_and_nothing_else() -> None:
    numbers = {
        "a": {"b": {"value": 1.0, "low": 0.5, "high": 1.5}},
        "c": {"mean": 2.0, "sd": None, "low": 1.0, "high": 3.0},
        "d": {"mean": 4.0, "sd": 1.0, "seeds": 4},
        "e": {"pearson": 0.5, "pearson_low": 0.4, "pearson_high": 0.7, "p": 0.01, "n": 30},
        "alone": {"mean": 1.0, "sd": None, "seeds": 1, "low": None, "high": None},
        "none": {"value": None, "low": 0.0, "high": 1.0},
        "flag": {"tells": True, "tells_low": 0, "tells_high": 1},
    }
    found = dict(estimates(numbers))
    assert sorted(found) == ["a/b", "c", "d", "e/pearson"]
    assert (found["c"].value, found["c"].low, found["c"].high) == (2.0, 1.0, 3.0)
    # Student's 97.5 % quantile of 3 degrees of freedom is 3.182; the standard error is 1 / sqrt(4).
    assert (found["d"].low, found["d"].high) == pytest.approx((4 - 1.591, 4 + 1.591), abs=1e-3)


def test_one_number_agrees_as_far_as_the_facing_half_widths_in_quadrature_reach(tmp_path: Path) -> None:
    first = report(tmp_path / "a", {"x": {"value": 0.0, "low": -100.0, "high": 3.0}})
    for name, value, code in (("near", 4.99, 0), ("far", 5.01, 1)):
        second = report(tmp_path / name, {"x": {"value": value, "low": value - 4, "high": value + 100}})
        assert main(["compare-reports", first, second]) == code == main(["compare-reports", second, first])


def test_the_table_names_what_does_not_agree_the_worst_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = report(tmp_path / "a", {"m": {"one": interval(1, 0.1), "two": interval(2, 0.1)}, "k": {"three": interval(3, 0.1)}})
    second = report(tmp_path / "b", {"m": {"one": interval(2, 0.1), "two": interval(5, 0.1)}, "k": {"three": interval(3.01, 0.1)}})
    assert main(["compare-reports", first, second]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["m", "0", "of", "2", "agree"] and lines[2].split() == ["k", "1", "of", "1", "agree"]
    assert lines[5].startswith("m/two: 2 [1.9, 2.1], 5 [4.9, 5.1]") and lines[6].startswith("m/one: ") and len(lines) == 7
    assert main(["compare-reports", first, second, "--only", "k/*"]) == 0
    assert main(["compare-reports", first, second, "--only", "k/*", "--all"]) == 0 and "k/three: 3 " in capsys.readouterr().out
    assert main(["compare-reports", first, first]) == 0


def test_what_differs_by_chance_alone_agrees_and_a_planted_difference_does_not(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    verdicts = []
    for trial in range(40):
        reports = [{f"n{place}": interval(value, 1.96) for place, value in enumerate(generator.normal(size=200))} for _ in range(2)]
        folders = [report(tmp_path / f"{trial}{side}", numbers) for side, numbers in zip("ab", reports, strict=True)]
        verdicts.append(all(pair.agrees for pair in compared(*map(Path, folders), ["*"])))
    assert np.mean(verdicts) >= 0.85, "19 of 20 pairs of reports, up to chance"
    reports[1]["n7"] = interval(reports[0]["n7"]["value"] + 8, 1.96)
    planted = report(tmp_path / "planted", reports[1])
    pairs = compared(Path(folders[0]), Path(planted), ["*"])
    assert pairs[0].path == "n7" and not pairs[0].agrees


def test_numbers_without_width_agree_when_they_are_the_same(tmp_path: Path) -> None:
    first = report(tmp_path / "a", {"x": interval(0.25, 0.0)})
    assert main(["compare-reports", first, report(tmp_path / "b", {"x": interval(0.250001, 0.0)})]) == 0
    assert main(["compare-reports", first, report(tmp_path / "c", {"x": interval(0.2501, 0.0)})]) == 1


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = report(tmp_path / "good", {"x": interval(1, 0.1)})
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "numbers.json").write_text('{"x": ')
    faults = {
        str(tmp_path / "none"): "cannot be read",
        str(broken): "is not valid JSON",
        report(tmp_path / "list", [1]): "does not hold numbers by name",
        report(tmp_path / "other", {"y": interval(1, 0.1)}): "no number with an interval",
    }
    for folder, words in faults.items():
        assert main(["compare-reports", good, folder]) == 2
        error = capsys.readouterr().err
        assert words in error and folder in error and error.count("\n") == 1
    assert main(["compare-reports", good, good, "--only", "z*"]) == 2 and "`z*`" in capsys.readouterr().err


def test_the_committed_report_agrees_with_itself() -> None:
    assert main(["compare-reports", "reports/default", "reports/default"]) == 0
