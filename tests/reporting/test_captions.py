"""Every figure and table of the report has a caption file, and every caption file is that of a figure or table."""

from pathlib import Path

import docutils.core
import pytest

from segcompass.reporting.captions.read import caption, caption_file, captioned
from segcompass.reporting.figures.save import keep_place
from segcompass.reporting.front_page import FIGURES as FRONT
from segcompass.reporting.headline import headline
from segcompass.reporting.summary import FIGURES


def test_every_figure_with_a_caption_is_shown_on_one_page() -> None:
    assert set(FIGURES) | set(FRONT) == set(captioned("figure"))


@pytest.mark.parametrize("kind", ["figure", "table", "ledger"])
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
    score = {"refcoco": {"gIoU": {"mean": 0.5}, "thought accuracy": {"mean": 0.7}, "cIoU": {"mean": 0.6}}}
    pair = {"spearman": 0.4, "partial": 0.3, "null_mean": 0.0, "pearson": 0.2}
    left = {fraction: {"f": float(fraction) / 2} for fraction in ("0.01", "0.16", "0.04")}
    numbers = {
        "metrics": {"reference": {"refcoco": {"val": score}}, "dense": {"refcoco": {"val": score}}},
        "correlation": {"reference": {"all": {"heat_iou / iou": pair}}},
        "curves": {"reference": {"refcoco": {"zero": {"top removed": left}}}},
        "comparisons": {"families": {"reward: full - seg_only": {"difference": {"mean": 3.0}, "p": {"mean": 0.01}}}},
    }
    assert headline(numbers) == {
        "reference": {
            "gIoU": {"refcoco val": 0.5},
            "thought accuracy": {"refcoco val": 0.7},
            "correlation": {"spearman": 0.4, "partial": 0.3, "null_mean": 0.0},
            "left without the strongest concepts": {"refcoco zero": 0.08},
        },
        "differences": {"reward: full - seg_only": 3.0},
    }
    assert headline({"metrics": {}, "correlation": {}, "curves": {}}) == {}
