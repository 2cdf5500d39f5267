"""Outlines give masks back exactly through COCO's rasteriser."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segcompass.datasets.masks import decode, from_segmentation
from segcompass.world.outline import polygons


def test_a_rectangle_has_four_corners() -> None:
    mask = np.zeros((8, 9), bool)
    mask[2:5, 3:7] = True
    assert polygons(mask) == [[3, 2, 7, 2, 7, 5, 3, 5]]


def test_a_hole_is_cut_and_touching_corners_stay_apart() -> None:
    ring = np.ones((5, 5), bool)
    ring[2, 2] = False
    assert len(polygons(ring)) == 2
    checked = np.indices((4, 4)).sum(0) % 2 == 0
    assert len(polygons(checked)) == 8


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_mask_comes_back(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 24, 2)
    mask = generator.random((height, width)) < generator.choice([0.1, 0.5, 0.9])
    found = decode(from_segmentation(polygons(mask) or [[0, 0, 0, 0, 0, 0]], int(height), int(width)))
    assert np.array_equal(found, mask)
