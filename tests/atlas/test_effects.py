"""Effects of single concepts on an interface whose answer is known: a concept contributes 2 * code * weight, summed over its tokens."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from segcompass.atlas.effects import FEWEST_IMAGES, Effects, mean_contributions
from segcompass.causal.edits import KINDS
from segcompass.study.analysis import BootstrapSettings
from tests.causal.planted import FEATURES, PLANTED, TYPES, drawn_codes, rows_of, world

BOOTSTRAP = BootstrapSettings(samples=200, level=0.9, seed=0)


def observed(codes: torch.Tensor, images: list[str]) -> Any:
    planted = world(codes, rows_of(PLANTED))
    places = [("refcoco", "testA", SimpleNamespace(image=image)) for image in images]
    return SimpleNamespace(units=planted.units, watched=planted.chunk.watched, chunk=planted.chunk, codes=planted.samples, places=places)


def table(codes: torch.Tensor, images: list[str], concepts: list[int]) -> dict[int, dict[str, Any]]:
    effects = Effects(FEATURES)
    effects.add(observed(codes, images), np.array(concepts), [0.5, 2.0])
    return effects.table(BOOTSTRAP)


def test_a_fall_is_twice_the_weighted_sum_of_the_codes_and_follows_dose_and_kind_of_token() -> None:
    codes = drawn_codes(10)
    found = table(codes, [f"image {number}" for number in range(10)], [3, 7, 5])
    for concept, weight in PLANTED.items():
        own = 2 * weight * codes[..., concept].double()
        row = found[concept]
        assert row["samples"] == row["images"] == 10
        assert row["fall"][0] == pytest.approx(float(own.sum(1).mean()), rel=1e-5)
        assert row["dose_0.5"][0] == pytest.approx(-0.5 * row["fall"][0], rel=1e-5)
        assert row["dose_2"][0] == pytest.approx(row["fall"][0], rel=1e-5)
        for kind, value in KINDS.items():
            assert row[f"fall_{kind}"][0] == pytest.approx(float(own[:, value == TYPES].sum(1).mean()), rel=1e-5)
        assert row["fall"][1] < row["fall"][0] < row["fall"][2]
        assert row["change"][0] > 0
    assert found[5]["fall"] == [0, 0, 0]


def test_only_samples_in_which_a_concept_is_active_count() -> None:
    codes = drawn_codes(10)
    codes[3:, :, 7] = 0
    found = table(codes, [f"image {number}" for number in range(10)], [3, 7])
    assert (found[3]["samples"], found[7]["samples"]) == (10, 3)
    assert found[7]["fall"][0] == pytest.approx(float(2 * 0.5 * codes[:3, :, 7].double().sum(1).mean()), rel=1e-5)


def test_too_few_images_have_no_interval() -> None:
    codes = drawn_codes(FEWEST_IMAGES)
    images = [f"image {max(number, 1)}" for number in range(FEWEST_IMAGES)]
    row = table(codes, images, [3])[3]
    assert (row["samples"], row["images"]) == (FEWEST_IMAGES, FEWEST_IMAGES - 1)
    assert row["fall"][1:] == [None, None] and row["fall"][0] > 0


def test_gradients_name_the_planted_concepts() -> None:
    codes = drawn_codes(4)
    found = mean_contributions([observed(codes, ["a", "b", "c", "d"])], FEATURES)
    assert set(np.flatnonzero(found)) == set(PLANTED)
    for concept, weight in PLANTED.items():
        assert found[concept] == pytest.approx(float(2 * weight * codes[..., concept].double().sum(1).mean()), rel=1e-5)


def test_nothing_is_measured_where_nothing_is_active() -> None:
    assert Effects(FEATURES).table(BOOTSTRAP) == {}
