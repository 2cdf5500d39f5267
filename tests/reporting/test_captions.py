"""Every figure and table of the report has a caption file, and every caption file is that of a figure or table."""

import json
from pathlib import Path

import docutils.core
import pytest

from segcompass.reporting.captions.read import caption, caption_file, captioned
from segcompass.reporting.figures.save import keep_place
from segcompass.reporting.headline import headline
from segcompass.reporting.summary import FIGURES, TABLES


def test_figures_and_tables_of_the_summary_have_captions() -> None:
    assert sorted(FIGURES) == captioned("figure")
    assert set(TABLES) <= set(captioned("table"))


@pytest.mark.parametrize("kind", ["figure", "table"])
def test_the_committed_report_holds_what_has_a_caption(kind: str) -> None:
    folder, ending = Path(f"reports/default/{kind}s"), {"figure": "png", "table": "csv"}[kind]
    assert sorted(path.stem for path in folder.glob(f"*.{ending}")) == captioned(kind)


@pytest.mark.parametrize("kind", ["figure", "table"])
def test_captions_are_restructured_text_without_faults(kind: str) -> None:
    for name in captioned(kind):
        text = caption_file(kind, name).read_text(encoding="utf-8")
        docutils.core.publish_string(text, settings_overrides={"halt_level": 2, "report_level": 5})
        assert caption(kind, name).endswith(".") and "\n" not in caption(kind, name)


def test_a_figure_that_a_study_cannot_draw_keeps_its_place(tmp_path: Path) -> None:
    keep_place(tmp_path, "purity")
    assert [path.name for path in tmp_path.iterdir()] == ["purity.png"]
    first = (tmp_path / "purity.png").read_bytes()
    keep_place(tmp_path, "purity")
    assert (tmp_path / "purity.png").read_bytes() == first


def test_headline_metrics_are_those_of_the_numbers() -> None:
    numbers = json.loads(Path("reports/default/numbers.json").read_text())
    found = headline(numbers)
    assert found == json.loads(Path("reports/default/metrics.json").read_text())
    assert found["gIoU"]["refcoco val"] == numbers["metrics"]["full"]["refcoco"]["val"]["refcoco"]["gIoU"]["mean"]
    assert (
        found["necessity"]["refcoco val seed0"]
        == numbers["necessity"]["full"]["seed0"]["refcoco"]["val"]["m16"]["top-random"]["target_iou_change"]["mean"]
    )
    assert headline({"metrics": {}, "correlation": {}, "necessity": {}}) == {}
