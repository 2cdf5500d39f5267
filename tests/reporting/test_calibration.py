"""Calibration of read-outs by hand: bins of equally many edits, the share within a tolerance, and the ledger's figures beside them."""

import numpy as np
import pandas as pd
import pytest

from segcompass.claims.battery import Battery
from segcompass.reporting.calibration import calibration_points
from segcompass.reporting.figures.calibration import calibration_figure, said
from segcompass.stats.crossed import Grid
from segcompass.study.claims import BatteryEstimand

PREDICTED = {"a": (1.0, 2.0), "b": (3.0, 4.0)}
OBSERVED = {"a": (1.5, 2.0), "b": (3.0, 6.0)}


def measured(seeds: int = 1, variant: str = "reference") -> pd.DataFrame:
    """Two expressions of two images, two sizes each; scores before are 4, so that a tolerance of 0.1 allows errors of 0.4."""
    rows = []
    for seed in range(seeds):
        for sample in "ab":
            place = {"variant": variant, "seed": seed, "benchmark": "refcoco", "split": "testA", "sample_id": sample, "image": sample}
            values = [("whole", "", "score", 4.0), ("whole", "", "mask_score", -8.0)]
            for number, at in enumerate(("1", "4")):
                predicted, observed = PREDICTED[sample][number] + seed, OBSERVED[sample][number] + seed
                values += [("top", at, "predicted_integrated", predicted), ("top", at, "observed", observed)]
                values += [("top", at, "predicted_mask", predicted), ("top", at, "observed_mask", observed)]
                values += [("top", at, "predicted_permuted", 0.0)]
            values += [("half", "", "predicted_integrated", 99.0), ("half", "", "observed", 0.0)]
            rows += [place | {"intervention": "traceability", "arm": arm, "at": at, "measure": of, "value": x} for arm, at, of, x in values]
    return pd.DataFrame(rows)


def test_bins_hold_equally_many_edits_and_points_are_their_means() -> None:
    """Predicted 1, 2 | 3, 4: the median splits the edits by expression; observed means 1.75 and 4.5."""
    points = calibration_points(measured(), ["reference", "not measured"], 2, 0.1, 0.95)
    heat = points[(points["response"] == "heat map") & (points["told"] == "contributions")]
    assert heat["predicted"].tolist() == [1.5, 3.5] and heat["observed"].tolist() == [1.75, 4.5]
    assert heat["edits"].tolist() == [2, 2] and heat["images"].tolist() == [1, 1] and set(points["variant"]) == {"reference"}
    # Two of four errors are 0; the scale of the mask is twice as great, so 0.5 is within a tenth of it.
    assert heat["within"].tolist() == [0.5, 0.5]
    assert set(points.loc[points["response"] == "mask", "within"]) == {0.75}
    assert set(points["told"]) == {"contributions", "permuted"}
    permuted = points[points["told"] == "permuted"]
    assert permuted["predicted"].tolist() == [0.0] and permuted["observed"].tolist() == [pytest.approx(12.5 / 4)], "all in one bin"


def test_intervals_are_over_seeds_and_images() -> None:
    """A seed later everything is 1 more: predicted 1, 2, 2, 3 | 3, 4, 4, 5 of two seeds, the median is 3 and belongs to the upper bin."""
    points = calibration_points(measured(2), ["reference"], 2, 0.1, 0.95)
    heat = points[(points["response"] == "heat map") & (points["told"] == "contributions")]
    assert heat["edits"].tolist() == [3, 5] and heat["seeds"].tolist() == [2, 2]
    observed = np.array([[1.5, 2.0, 3.0, 6.0], [2.5, 3.0, 4.0, 7.0]])
    lower = np.array([[True, True, False, False], [True, False, False, False]])
    grid = Grid(["a", "a", "b", "b"])
    for (_, row), here in zip(heat.iterrows(), (lower, ~lower), strict=True):
        expected = grid.mean(np.where(here, observed, np.nan), "seeds").estimate(0.95)
        assert row[["observed", "low", "high"]].tolist() == pytest.approx([expected.value, expected.low, expected.high])


def test_slope_and_r2_are_the_ledger_s() -> None:
    rows = measured(2)
    points = calibration_points(rows, ["reference"], 2, 0.1, 0.95)
    for figure in ("slope", "r2"):
        estimand = {
            "kind": "battery",
            "of": "reference",
            "intervention": "traceability",
            "measure": "observed",
            "over": "predicted_integrated",
        }
        estimand |= {"arm": "top", "control": None, "at": None, "figure": figure}
        found = Battery(rows, 10, 5, 0.95, 0).evidence(BatteryEstimand.model_validate(estimand), ["reference"], "all").estimate(0.95)
        assert points.loc[0, [figure, f"{figure}_low", f"{figure}_high"]].tolist() == pytest.approx([found.value, found.low, found.high])


def test_a_figure_has_a_panel_for_each_read_out_that_was_measured() -> None:
    rows = pd.concat([measured(2), measured(1, "ref_only")], ignore_index=True)
    readouts = [("reference", "concepts"), ("ref_only", "references"), ("text_readout", "words")]
    points = calibration_points(rows, [variant for variant, _ in readouts], 2, 0.1, 0.95)
    axes = calibration_figure(points, readouts, 0.1).axes
    titles = ["reference: concepts", "ref_only: reference states"]
    assert [axis.get_title(loc="left").splitlines()[0] for axis in axes] == [*titles, *titles]
    assert said(dict(points.iloc[0]), 0.1)[2].startswith("within 10 %: 0.")
    assert not len(calibration_points(rows.assign(intervention="sham"), ["reference"], 2, 0.1, 0.95))
