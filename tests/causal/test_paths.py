"""The factorial of paths on an interface whose roads are known."""

import numpy as np
import pandas as pd
import pytest

from segcompass.backbone.token_types import INSTRUCTION, THOUGHT, VISUAL
from segcompass.causal.donors import Donors
from segcompass.causal.measurements import PATHS, Measurement
from segcompass.causal.paths import cell_name, path_shares
from segcompass.causal.response import Responding
from tests.causal.planted_answers import LEFT, RIGHT, PlantedModel, PlantedRuns, sample

SAMPLES = [sample("own", LEFT, "a.png"), sample("other", RIGHT, "b.png")]
WRITTEN = {"own": ([0, 0], [0], [0, 7], 0), "other": ([1], [1, 7, 7], [1], 1)}
"""Concept 0 names the left half, 1 the right one; blocks have other lengths, and concept 7 is read by nobody."""


def measured(model: PlantedModel, offset: float = 0.0) -> pd.DataFrame:
    runs = PlantedRuns(WRITTEN, offset)
    rows = path_shares(runs, Responding(model, 0.5), ("b", "s"), SAMPLES, Donors(SAMPLES, 0), 2)  # type: ignore[arg-type]
    return pd.DataFrame(rows, columns=list(Measurement._fields))


def shares(rows: pd.DataFrame, measure: str = "shapley") -> dict[str, float]:
    own = rows[(rows["sample_id"] == "own") & (rows["measure"] == measure)]
    return dict(zip(own["at"], own["value"], strict=True))


@pytest.mark.parametrize(
    ("weights", "reference", "threshold", "expected"),
    [
        ({THOUGHT: 1.0}, 0.0, 0.5, (0, 0, 1, 0)),
        ({}, 1.0, 0.5, (0, 0, 0, 1)),
        # Only both together exceed the threshold: half each.
        ({INSTRUCTION: 1.0, THOUGHT: 1.0}, 0.0, 1.5, (0, 0.5, 0.5, 0)),
        # The two visual tokens alone exceed it, and so do thought and reference together. By orders: the visual block decides unless both
        # others come before it, 2/3; the other two have 1/6 each.
        ({VISUAL: 1.0, THOUGHT: 0.8}, 0.8, 1.5, (2 / 3, 0, 1 / 6, 1 / 6)),
    ],
)
@pytest.mark.parametrize("offset", [0.0, 1e-3], ids=["sparse", "dense"])
def test_shares_are_those_of_the_planted_roads(
    weights: dict[int, float], reference: float, threshold: float, expected: tuple[float, ...], offset: float
) -> None:
    """The donor lights the right half alone, so a cell's IoU with the left one is 1, 1/2 (both halves) or 0."""
    model = PlantedModel({0: LEFT}, weights, reference, threshold)
    rows = measured(model, offset)
    assert shares(rows) == pytest.approx(dict(zip(PATHS, expected, strict=True)))
    own = rows[rows["sample_id"] == "own"].set_index(["arm", "measure", "at"])["value"]
    assert own["resample", "total", ""] == 1 == pytest.approx(sum(shares(rows).values()))
    assert own["resample", "total_score", ""] == pytest.approx(sum(shares(rows, "shapley_score").values()))
    assert own["identity", "total", ""] == 0 and own["identity", "total_score", ""] == 0
    assert own["resample", "cell", "visual_instruction_thought_reference"] == 1 and own["resample", "cell", "none"] == 0


def test_every_cell_is_written_once_under_the_roads_that_are_own() -> None:
    rows = measured(PlantedModel({0: LEFT, 1: RIGHT}, {THOUGHT: 1.0}))
    cells = rows[(rows["measure"] == "cell") & (rows["sample_id"] == "own")]
    assert sorted(cells["at"]) == sorted(cell_name(cell) for cell in range(16)) and cells["at"].is_unique
    assert all(value == float("thought" in at) for at, value in zip(cells["at"], cells["value"], strict=True))


def test_donors_are_the_same_whoever_asks() -> None:
    samples = [sample(f"{image}{number}", LEFT if number else RIGHT, image) for image in "abc" for number in range(3)]
    samples.append(sample("b3", LEFT, "b", text="b1"))
    first, again, other = Donors(samples, 0), Donors(samples, 0), Donors(samples, 1)
    drawn = [
        [donors.of(one, kind) for one in samples for kind in ("other_target", "same_target", "other_image")] for donors in (first, again)
    ]
    assert drawn[0] == drawn[1]
    assert any(first.of(one, "other_image") != other.of(one, "other_image") for one in samples)
    for one in samples:
        target, same, image = (first.of(one, kind) for kind in ("other_target", "same_target", "other_image"))
        assert target and target.image == one.image and target.target != one.target
        assert image and image.image != one.image
        assert same is None or (same.target == one.target and same.text != one.text and same.image == one.image)
    assert first.of(samples[0], "same_target") is None, "the only expression of its target"
    lone = sample("lone", LEFT, "d")
    assert Donors([lone], 0).of(lone, "other_image") is None


def test_a_target_that_shares_pixels_is_no_other_one() -> None:
    whole = np.ones((4, 4), bool)
    samples = [sample("left", LEFT), sample("all", whole), sample("right", RIGHT)]
    donor = Donors(samples, 0).of(samples[0], "other_target")
    assert donor is not None and donor.sample_id == "right"
    assert Donors(samples, 0).of(samples[1], "other_target") is None
