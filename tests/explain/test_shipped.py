"""The run that is in the box: its files are those of its card, and docs/explain.md shows what the commands print with it."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcompass.cli import main
from segcompass.datasets.masks import decode
from segcompass.joint.stored_run import SHIPPED, digest, read_run_card
from tests.workflow.project import ROOT

PAGE = ROOT / "docs" / "explain.md"
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
TOLERANCE = 0.05
"""Of printed numbers, relative above 1: other processors add up in another order, and what is printed has two digits after the point."""


def shown() -> list[tuple[str, str]]:
    """Commands of the page on the shipped run, and what it says they print."""
    blocks = re.findall(r"```console\n\$ (segcompass [^\n]*)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    return [(command, text) for command, text in blocks]


def lines(text: str) -> list[str]:
    """Those of a table of concepts in the order of the concepts: measured falls that are all but equal may change places."""
    rows = text.splitlines()
    table = [row for row in rows if re.match(r" +\d+ ", row)]
    return [row for row in rows if row not in table] + sorted(table, key=lambda row: int(row.split()[0]))


def test_the_card_names_every_file_of_the_shipped_run() -> None:
    card = read_run_card(SHIPPED)
    there = {path.relative_to(SHIPPED).as_posix() for path in SHIPPED.rglob("*") if path.is_file()} - {"card.json", "README.md"}
    assert there == set(card["files"])
    for name, wanted in card["files"].items():
        assert digest(SHIPPED / name) == wanted, name


def test_what_carries_an_attribute_was_found_on_the_pairs_of_its_study() -> None:
    """As many concepts as the study tries, of each attribute that it exchanges."""
    found = json.loads((SHIPPED / "concepts.json").read_text())
    assert set(found["carriers"]) == {"colour", "shape", "size", "pattern", "place"}
    assert {len(concepts) for concepts in found["carriers"].values()} == {32}


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_the_shipped_run_finds_the_object_of_an_example(dtype: str | None, tmp_path: Path) -> None:
    """In the arithmetic of its training, and in a coarser one, whose mask is nearly the same."""
    words = ["predict", str(SHIPPED / "examples" / "0.jpg"), "bottom left green object", "--out", str(tmp_path / "out")]
    assert main([*words, *(["--dtype", dtype] if dtype else [])]) == 0
    found = json.loads((tmp_path / "out" / "prediction.json").read_text())
    mask = decode(found["segmentation"])
    assert found["status"] == "ok" and 400 < mask.sum() < 600
    pixels = np.asarray(Image.open(SHIPPED / "examples" / "0.jpg").convert("RGB")).astype(int)[mask]
    assert (pixels[:, 1] > pixels[:, [0, 2]].max(1)).mean() > 0.8, "it is the green object"


def test_a_kind_of_arithmetic_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["predict", "a.png", "ring", "--dtype", "float8", "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2 and "--dtype" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "text"), shown(), ids=lambda value: shlex.split(value)[1] if value.startswith("segcompass") else "")
def test_the_page_shows_what_the_command_prints(
    command: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "backbones").symlink_to(ROOT / "backbones")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)[1:]) == 0
    said, expected = lines(capsys.readouterr().out), lines(text)
    assert [NUMBER.sub("#", line) for line in said] == [NUMBER.sub("#", line) for line in expected]
    for own, wanted in zip(said, expected, strict=True):
        for one, other in zip(NUMBER.findall(own), NUMBER.findall(wanted), strict=True):
            assert float(one) == pytest.approx(float(other), rel=TOLERANCE, abs=TOLERANCE), (own, wanted)
    if "sham edit" in text:
        assert "sham edit: 0 of" in "\n".join(said)
