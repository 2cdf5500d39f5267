"""Points of the curves: f from means over seeds and expressions, intervals over seeds and images, by hand."""

from pathlib import Path

import pandas as pd
import pytest

from segcompass.reporting.curves import curve_points
from segcompass.reporting.figures.curves import curves_figure
from segcompass.stats.crossed import Grid


def measured(seeds: int) -> pd.DataFrame:
    """Two images, the first with two expressions; without any concept scores are 1, with all 3, 3 and 7 and a seed more."""
    rows = []
    for seed in range(seeds):
        for sample, image, everything, kept in (("a", "x", 3.0, 2.0), ("b", "x", 3.0, 3.0), ("c", "y", 7.0, 1.0)):
            place = {"variant": "full", "seed": seed, "benchmark": "refcoco", "intervention": "curve", "sample_id": sample, "image": image}
            values = [("all", "", "score", everything + seed), ("none_zero", "", "score", 1.0), ("all", "", "iou", 0.5)]
            values += [("top_zero", "0.01", "kept_score", kept + seed), ("top_zero", "0.01", "kept_iou", 0.5)]
            rows += [place | {"arm": arm, "at": at, "measure": measure, "value": value} for arm, at, measure, value in values]
    return pd.DataFrame(rows)


def test_f_is_a_ratio_of_sums() -> None:
    """Kept less none: 1 + 2 + 0, all less none: 2 + 2 + 6, and a seed later one more of each: (3 + 6) / (10 + 13)."""
    points = curve_points(measured(2), 0.95)
    assert points.iloc[0, :6].tolist() == ["full", "refcoco", "zero", "top", "kept", 0.01] and len(points) == 1
    assert points.loc[0, "f"] == pytest.approx(9 / 23, abs=1e-6)
    assert points.loc[0, ["seeds", "images", "samples"]].tolist() == [2, 2, 3]
    top, bottom = [[1.0, 2.0, 0.0], [2.0, 3.0, 1.0]], [[2.0, 2.0, 6.0], [3.0, 3.0, 7.0]]
    expected = Grid(["x", "x", "y"]).ratio(top, bottom, "seeds").estimate(0.95)
    assert points.loc[0, ["low", "high"]].tolist() == pytest.approx([expected.low, expected.high], abs=1e-6)


def test_a_single_seed_has_an_interval_over_images_and_words_have_no_points() -> None:
    points = curve_points(measured(1), 0.95)
    assert points.loc[0, "f"] == pytest.approx(0.3) and points.loc[0, "low"] < 0.3 < points.loc[0, "high"]
    assert not len(curve_points(measured(1).assign(intervention="sham"), 0.95))


@pytest.mark.parametrize("missing", [["low", "high"], ["f", "low", "high"]])
def test_a_figure_is_drawn_of_what_is_known(missing: list[str], tmp_path: Path) -> None:
    """Where nothing is, as of an interface that does not read its concepts, a logarithmic axis cannot be scaled."""
    points = curve_points(measured(2), 0.95)
    points[missing] = float("nan")
    curves_figure(points).savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
