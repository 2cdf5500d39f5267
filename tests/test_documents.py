"""docs/scale.md and the README show what the commands print; the former for all three studies."""

import json
import re
from pathlib import Path

import pytest

from segcompass.cli import main

DOCUMENT, FRONT = Path("docs/scale.md"), Path("README.md")
SHOWN = re.compile(r"<!-- output: (.+?) -->\n(.*?)\n?<!-- end -->", re.DOTALL)


def shown(document: Path) -> list[tuple[str, str]]:
    """Command lines and outputs that a document shows."""
    return SHOWN.findall(document.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("document", "words", "text"),
    [(document, *block) for document in (DOCUMENT, FRONT) for block in shown(document)],
    ids=lambda value: str(value)[:40],
)
def test_a_document_shows_what_the_command_prints(document: Path, words: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 0
    assert text == capsys.readouterr().out.rstrip("\n"), f"paste the output of `segcompass {words}` into {document}"


def test_every_paper_study_is_shown_by_both_commands() -> None:
    expected = {f"{name} {path} --markdown" for path in sorted(Path("params").glob("paper_*.yaml")) for name in ("scale", "cache-size")}
    assert {words for words, _ in shown(DOCUMENT)} == expected


def test_the_readme_answers_its_title_from_the_ledger() -> None:
    """From every committed study: what masks hang on, what the parts are worth, and what better concepts do."""
    studies = [words.partition(" --lines ")[0] for words, _ in shown(FRONT)]
    assert studies == [f"claims params/{name}.yaml" for name in ("confirmation", "default", "dictionaries")]


def test_a_study_whose_data_is_prepared_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two images, three training expressions, of which the first image's two are cached: 1 x 576 + 2 x 208 tokens."""
    study = Path("params/paper_llava7b.yaml").read_text(encoding="utf-8").replace("scenes: 40000", "scenes: 1")
    (tmp_path / "params").mkdir()
    (tmp_path / "params/paper_llava7b.yaml").write_text(study)
    data = tmp_path / "results/paper_llava7b/data"
    (data / "manifests/refcoco").mkdir(parents=True)
    (data / "run.json").write_text("{}")
    rle = {"size": [2, 2], "counts": "04"}
    shared = {"height": 2, "width": 2, "text": "ring", "no_target": False, "target": rle, "ignore": None, "instances": [rle]}
    rows = [{"sample_id": f"s{index}", "image": image} | shared for index, image in enumerate(("a.jpg", "a.jpg", "b.jpg"))]
    (data / "manifests/refcoco/train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    assert main(["cache-size", "params/paper_llava7b.yaml"]) == 0
    assert f"counted {576 + 2 * 208}" in capsys.readouterr().out


def test_a_faulty_study_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scale", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
