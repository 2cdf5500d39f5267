"""`segcompass ship-run`: one folder from which a run predicts, explains and is edited as in its study, wherever it lies."""

import json
import shutil
from pathlib import Path

import pytest

from segcompass.cli import main
from segcompass.joint import stored_run as stored_runs
from tests.explain.conftest import asked as asked
from tests.explain.conftest import run as run
from tests.explain.conftest import stored as stored
from tests.workflow.project import ROOT


@pytest.fixture(scope="module")
def shipped(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ship") / "embedded_run"
    assert main(["ship-run", str(run), str(folder), "--backbone", str(ROOT / "backbones" / "embedded")]) == 0
    return folder


def test_a_shipped_run_answers_as_in_its_study(run: Path, shipped: Path, asked: tuple[Path, str], tmp_path: Path) -> None:
    """To the bit, and from anywhere: the backbone is found beside the folder, or where the project has it."""
    moved = shutil.copytree(shipped, tmp_path / "moved")
    for name, model in (("study", run), ("shipped", shipped), ("moved", moved)):
        words = [str(asked[0]), asked[1], "--model", str(model)]
        assert main(["predict", *words, "--out", str(tmp_path / name / "predicted")]) == 0
        assert main(["edit", *words, "--set", "red=0", "--out", str(tmp_path / name / "edited")]) == 0
    for file in ("predicted/prediction.json", "predicted/mask.png", "edited/edit.json", "edited/after.png"):
        assert len({(tmp_path / name / file).read_bytes() for name in ("study", "shipped", "moved")}) == 1, file


def test_a_shipped_run_swaps_what_carries_an_attribute(run: Path, shipped: Path, asked: tuple[Path, str], tmp_path: Path) -> None:
    """The shipped concepts are those that are found in the study; another picture's thought gives their codes."""
    (other, instruction) = next(
        (shipped / "examples" / row["image"], row["instruction"])
        for row in json.loads((shipped / "examples" / "examples.json").read_text())[1:]
    )
    found = {}
    for name, model in (("study", run), ("shipped", shipped)):
        words = [str(asked[0]), asked[1], "--swap-from", str(other), instruction, "--attribute", "shape", "--model", str(model)]
        assert main(["edit", *words, "--out", str(tmp_path / name)]) == 0
        found[name] = json.loads((tmp_path / name / "edit.json").read_text())
    assert found["study"] == found["shipped"]
    swap, changed = found["shipped"]["swap"], {row["concept"] for row in found["shipped"]["changed"]}
    assert 0 < len(swap["concepts"]) <= 16 and changed <= set(swap["concepts"]) and swap["attribute"] == "shape"
    assert all(row["change"]["visual"] == row["change"]["instruction"] == 0 for row in found["shipped"]["changed"])
    assert found["shipped"]["sham"]["changed_mask_logits"] == 0


def test_commands_take_the_shipped_run_where_none_is_named(
    shipped: Path, asked: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stored_runs, "SHIPPED", shipped)
    assert main(["explain", str(asked[0]), asked[1], "--out", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert told["run"]["variant"] == "full" and told["donors"][0]["image"].startswith(("0.", "1."))
    monkeypatch.setattr(stored_runs, "SHIPPED", tmp_path / "empty")
    capsys.readouterr()
    for command in (["predict"], ["explain"], ["edit", "--set", "3=0"]):
        words = [command[0], str(asked[0]), asked[1], *command[1:], "--out", str(tmp_path / "none")]
        assert main(words) == 2
        error = capsys.readouterr().err
        assert "no trained run is shipped yet" in error and error.count("\n") == 1 and not (tmp_path / "none").exists()


def test_shipping_again_replaces_the_folder_and_no_other(
    run: Path, shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = shutil.copytree(shipped, tmp_path / "again")
    before = {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()}
    (again / "old.txt").write_text("left from an older run")
    backbone = ["--backbone", str(ROOT / "backbones" / "embedded")]
    assert main(["ship-run", str(run), str(again), *backbone]) == 0
    assert {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()} == before
    card = json.loads((again / "card.json").read_text())
    assert set(card["files"]) | {"card.json", "README.md"} == {path.as_posix() for path in before}
    assert str(tmp_path) not in "".join(path.read_text() for path in again.rglob("*.json"))
    others = tmp_path / "others"
    others.mkdir()
    (others / "thesis.tex").write_text("mine")
    assert main(["ship-run", str(run), str(others), *backbone]) == 2
    assert main(["ship-run", str(again), str(tmp_path / "new"), *backbone]) == 2
    assert main(["ship-run", str(run), str(tmp_path / "new"), "--backbone", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and "holds other files" in said[0] and "shipped run already" in said[1] and "ship-backbone" in said[2]
    assert [path.name for path in others.iterdir()] == ["thesis.tex"] and not (tmp_path / "new").exists()


def test_what_is_not_as_shipped_is_refused(
    shipped: Path, asked: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(folder: Path) -> str:
        assert main(["predict", str(asked[0]), asked[1], "--model", str(folder), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and not (tmp_path / "out").exists()
        return error

    broken = shutil.copytree(shipped, tmp_path / "broken")
    with (broken / "sae" / "sae_weights.safetensors").open("ab") as file:
        file.write(b"0")
    assert "sae/sae_weights.safetensors" in said(broken)
    (broken / "card.json").write_text("[]")
    assert "no card of a shipped run" in said(broken)
    monkeypatch.setattr(stored_runs, "BACKBONES", tmp_path)
    assert "is not the backbone that the run was trained with" in said(shutil.copytree(shipped, tmp_path / "alone"))
