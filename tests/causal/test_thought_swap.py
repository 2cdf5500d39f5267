"""Swaps of thoughts on an interface that reads thoughts alone, or none of them."""

import pandas as pd
import pytest

from segcompass.backbone.token_types import INSTRUCTION, THOUGHT
from segcompass.causal.donors import Donors
from segcompass.causal.measurements import Measurement
from segcompass.causal.response import Responding
from segcompass.causal.thought_swap import thought_swaps
from tests.causal.planted_answers import LEFT, RIGHT, PlantedModel, PlantedRuns, sample

SAMPLES = [sample("left", LEFT, "a"), sample("west", LEFT, "a"), sample("right", RIGHT, "a"), sample("far", RIGHT, "b")]
WRITTEN = {
    "left": ([7], [0], [0], None),
    "west": ([7], [0, 7], [7, 0, 7], None),
    "right": ([7], [1, 7, 7], [1, 7], None),
    "far": ([7, 7], [1], [1, 1], None),
}
MAPS = {0: LEFT, 1: RIGHT}


def measured(model: PlantedModel) -> pd.Series:
    runs = PlantedRuns(WRITTEN)
    rows = thought_swaps(runs, Responding(model, 0.5), ("b", "s"), SAMPLES, Donors(SAMPLES, 0), 3)  # type: ignore[arg-type]
    frame = pd.DataFrame(rows, columns=list(Measurement._fields))
    assert set(frame["intervention"]) == {"thought_swap"} and frame["image"].map({"a": 3, "b": 1}).notna().all()
    return frame.set_index(["sample_id", "arm", "measure"])["value"]


def test_the_mask_follows_a_thought_that_is_read() -> None:
    found = measured(PlantedModel(MAPS, {THOUGHT: 1.0}))
    for name in ("left", "right"):
        assert found[name, "other_target", "moved"] == found[name, "other_target", "moved_iou"] == 1
        assert found[name, "other_target", "iou_change"] == -1
        assert found[name, "ceiling", "moved"] == found[name, "ceiling", "moved_iou"] == 1
        assert found[name, "identity", "moved"] == found[name, "identity", "moved_iou"] == found[name, "identity", "iou_change"] == 0
    assert found["left", "same_target", "iou_change"] == found["west", "same_target", "iou_change"] == 0
    # The only other image names the right half.
    assert found["left", "other_image", "iou_change"] == -1 and found["right", "other_image", "iou_change"] == 0


def test_what_has_no_donor_has_no_measurement() -> None:
    found = measured(PlantedModel(MAPS, {THOUGHT: 1.0}))
    assert {arm for name, arm, _ in found.index if name == "far"} == {"identity", "other_image"}
    assert "same_target" not in {arm for name, arm, _ in found.index if name == "right"}


@pytest.mark.parametrize("measure", ["moved", "moved_iou", "iou_change"])
def test_an_interface_that_reads_no_thought_keeps_its_mask(measure: str) -> None:
    found = measured(PlantedModel(MAPS, {INSTRUCTION: 1.0}))
    edits = found[[arm != "ceiling" and name == measure for _, arm, name in found.index]]
    assert len(edits) >= 6 and (edits == 0).all()
    assert found["left", "ceiling", "moved"] == 1, "unedited, the other one's mask is where it should be"
