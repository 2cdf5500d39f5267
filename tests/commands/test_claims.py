"""`segcompass claims` decides again from committed records: 0 where the ledger says the same, 1 where not, 2 for bad input."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from segcompass.claims.evidence import SEEDS, UNMEASURED, ClaimRecord, Counted, LedgerRecord, read_record, write_record
from segcompass.cli import main
from segcompass.reporting.ledger import write_ledger
from segcompass.stats.crossed import Grid
from segcompass.study.claims import rule_digests
from segcompass.study.load import load_study

STUDY = Path("params/smoke.yaml")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """The smoke study's ledger: sparse beats dense by 0.1, all else was not measured."""
    claims = load_study(STUDY).claims
    values = 0.1 + np.random.default_rng(0).normal(0, 0.05, (3, 40))
    effect = Counted(Grid(np.arange(40)).mean(values, SEEDS))
    stood = rule_digests(claims)
    records = {name: ClaimRecord(UNMEASURED, None, {}, {"results/smoke/a": stood[name]}, "", "was not measured") for name in claims.stated}
    records["sparse_beats_dense"] = ClaimRecord(effect, None, {}, {"results/smoke/a": stood["sparse_beats_dense"]}, "", "")
    write_record(LedgerRecord(records, []), tmp_path)
    write_ledger(claims, read_record(tmp_path), tmp_path)
    return tmp_path


def decided(ledger: Path, study: Path = STUDY) -> int:
    return main(["claims", str(study), "--report", str(ledger)])


def test_the_committed_ledger_is_found_again(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert decided(ledger) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[0].split()[:2] == ["sparse_beats_dense", "supported"]
    assert lines[-1].split()[:3] == ["state_of_the_art", "not", "tested"]


def test_chosen_claims_are_a_list_for_a_page(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = pd.read_csv(ledger / "claims.csv").set_index("claim").loc["sparse_beats_dense"]
    found, twin = (f"{row[f'{of}estimate']:.3f} [{row[f'{of}low']:.3f}, {row[f'{of}high']:.3f}]" for of in ("", "twin_"))
    words = ["claims", str(STUDY), "--report", str(ledger), "--lines", "state_of_the_art"]
    assert main([*words, "sparse_beats_dense"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "* The method is the best on RefCOCO, RefCOCO+, RefCOCOg, gRefCOCO and ReasonSeg. **Not tested**.",
        f"* A sparse concept space gives better masks than a dense map of the same width. **Supported**: {found}; null twin {twin}.",
    ]
    assert main([*words, "best_of_all"]) == 2
    assert "`best_of_all` is no claim" in capsys.readouterr().err


def test_a_verdict_that_was_edited_is_named(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = ledger / "claims.csv"
    table.write_text(table.read_text().replace("sparse_beats_dense,supported", "sparse_beats_dense,refuted"))
    assert decided(ledger) == 1
    said = capsys.readouterr().out
    assert "differs in claims.csv\n" in said and "sparse_beats_dense: refuted in the committed ledger, now supported" in said
    (ledger / "claims.md").unlink()
    assert decided(ledger) == 1 and "claims.csv, claims.md" in capsys.readouterr().out


def test_a_changed_rule_came_after_the_results(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = yaml.safe_load(STUDY.read_text())
    raw["claims"]["stated"]["sparse_beats_dense"]["rule"]["smallest"] = 0.01
    study = tmp_path / "smoke.yaml"
    study.write_text(yaml.safe_dump(raw, sort_keys=False))
    assert decided(ledger, study) == 1
    said = capsys.readouterr().out
    assert "sparse_beats_dense: supported in the committed ledger, now invalid" in said and "written or changed after the result" in said


@pytest.mark.parametrize("fault", ["study", "records.json", "records.npz", "claims.csv"])
def test_bad_input_is_one_sentence(ledger: Path, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    if fault == "study":
        assert main(["claims", "params/none.yaml"]) == 2
    else:
        (ledger / fault).write_text("x")
        assert decided(ledger) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said


def test_its_own_report_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "params/paper_llava7b.yaml"]) == 2
    assert "reports/paper_llava7b/claims" in capsys.readouterr().err


def test_the_record_of_a_whole_study_is_small(tmp_path: Path) -> None:
    """The default study: every claim with 5 seeds of 400 images, its twin with 3."""
    claims = load_study(Path("params/default.yaml")).claims
    generator, grid = np.random.default_rng(0), Grid(np.arange(400))
    drawn = {seeds: Counted(grid.mean(generator.normal(0.02, 0.3, (seeds, 400)), SEEDS)) for seeds in (3, 5)}
    records = {name: ClaimRecord(drawn[5], drawn[3], {"mass": 1.0}, {"a": "b"}, "", "") for name in claims.stated}
    write_record(LedgerRecord(records, []), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.5e6
