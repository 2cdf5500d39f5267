"""Which patches are shown of a concept, on codes that are written by hand."""

import numpy as np
from scipy import sparse

from segcompass.atlas.patches import choose_patches

CODES = sparse.csr_matrix(np.array([[9.0], [8.0], [7.0], [0.0], [1.0], [0.0], [0.0]]))
IMAGE = np.array([0, 0, 1, 0, 2, 1, 1])
HIDDEN = np.array([[1.0, 0], [1, 0], [1, 0], [0.9, 0.1], [0, 1], [1, 0.5], [-1, 0]])


def test_top_patches_are_of_different_pictures_while_there_are_others() -> None:
    (two,) = choose_patches(CODES, HIDDEN, IMAGE, np.array([0]), 2, 0)
    assert [patch.token for patch in two.top] == [0, 2]
    (every,) = choose_patches(CODES, HIDDEN, IMAGE, np.array([0]), 9, 0)
    assert [patch.token for patch in every.top] == [0, 1, 2, 4]
    assert [patch.quantile for patch in every.top] == [1, 0.75, 0.5, 0.25]


def test_one_patch_is_drawn_from_each_part_weakest_first() -> None:
    for seed in range(8):
        (found,) = choose_patches(CODES, HIDDEN, IMAGE, np.array([0]), 2, seed)
        weak, strong = (patch.token for patch in found.drawn)
        assert weak in (4, 2) and strong in (1, 0)


def test_negatives_are_silent_and_most_like_the_top_ones() -> None:
    # The two top ones are at (1, 0). Silent: 3 (cosine 0.99), 5 (0.89), 6 (-1); 6 shares its picture with 5.
    (found,) = choose_patches(CODES, HIDDEN, IMAGE, np.array([0]), 2, 0)
    assert [patch.token for patch in found.silent] == [3, 5]
    assert [patch.token for patch in choose_patches(CODES, HIDDEN, IMAGE, np.array([0]), 1, 0)[0].silent] == [3]
    assert all(patch.activation == 0 for patch in found.silent)


def test_a_concept_that_never_fires_shows_nothing() -> None:
    (found,) = choose_patches(sparse.csr_matrix((7, 1)), HIDDEN, IMAGE, np.array([0]), 3, 0)
    assert found.top == found.drawn == found.silent == []
