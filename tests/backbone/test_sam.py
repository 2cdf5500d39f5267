"""SAM's square input and the masks that come back from it, for pictures of every shape that the reader lets through."""

import numpy as np
import pytest
import torch

from segcompass.datasets.images import MOST_SLENDER
from tests.tiny import tiny_sam


@pytest.mark.parametrize("size", [(1, 1), (1, MOST_SLENDER), (MOST_SLENDER, 1), (3, 3 * MOST_SLENDER), (2, 5)])
def test_a_side_that_scales_to_less_than_a_pixel_keeps_one(size: tuple[int, int]) -> None:
    sam = tiny_sam()
    sam.image_size = 64  # at a factor of 200, the shorter side is scaled to a third of a pixel
    sam.mask_side = 16
    inputs = sam.inputs([np.full((*size, 3), 255, np.uint8)])
    assert inputs.valid.any() and float(inputs.pixels.max()) > 2
    assert sam.to_image(torch.ones(2, 16, 16), size).shape == (2, *size)
    low = sam.to_low_resolution(np.ones(size, bool))
    assert low.shape == (16, 16) and low.sum() > 0 and not low[~inputs.valid[0]].any()
