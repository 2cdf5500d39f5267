"""What is said of a dictionary's concepts, on codes and decoder rows that are written by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from segcompass.atlas.concepts import histograms, nearest, projection, purities, strongest_concepts, unit_rows, words_of
from segcompass.backbone.token_types import VISUAL
from segcompass.concepts.labelled import LabelledTokens


def test_the_strongest_concepts_by_mass_in_the_order_of_their_numbers() -> None:
    # Sums of absolute codes: 1, 0, 5, 3; the second never fires.
    codes = sparse.csr_matrix([[1.0, 0, -4, 0], [0, 0, 1, 3]])
    assert strongest_concepts(codes, 2).tolist() == [2, 3]
    assert strongest_concepts(codes, 9).tolist() == [0, 2, 3]


def test_a_histogram_counts_positive_activations_from_zero_to_the_greatest() -> None:
    codes = sparse.csr_matrix([[16.0, 0], [0.5, -1], [1.5, 0], [1.9, 0]])
    (greatest, counts), (none, empty) = histograms(codes, np.array([0, 1]))
    assert greatest == 16 and counts == [1, 2, *[0] * 13, 1]  # bins of width 1; 1.5 and 1.9 share the second
    assert none == 0 and sum(empty) == 0


def test_neighbours_are_ordered_by_cosine_and_leave_out_the_row_itself() -> None:
    # Angles 0, 60, 90 degrees: cosines 0.5 (0-1), 0 (0-2), sqrt(3)/2 (1-2).
    rows = unit_rows(np.array([[2.0, 0], [0.5, np.sqrt(3) / 2], [0, 7]]))
    places, cosines = nearest(rows, rows, 2, True)
    assert places.tolist() == [[1, 2], [2, 0], [1, 0]]
    assert cosines == pytest.approx(np.array([[0.5, 0], [np.sqrt(3) / 2, 0.5], [np.sqrt(3) / 2, 0]]), abs=1e-12)
    assert nearest(rows[:1], rows, 1, False)[0].tolist() == [[0]]
    assert unit_rows(np.zeros((1, 2))).tolist() == [[0, 0]]


def test_the_map_keeps_the_distances_of_rows_in_a_plane() -> None:
    rows = unit_rows(np.random.default_rng(0).normal(size=(12, 2)))
    plane = np.linalg.qr(np.random.default_rng(1).normal(size=(7, 2)))[0]
    coordinates, shares = projection(3 * rows @ plane.T)
    assert shares.sum() == pytest.approx(1)

    def distances(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x[:, None] - x, axis=2)

    assert distances(coordinates) == pytest.approx(distances(rows), abs=1e-9)
    assert (coordinates[np.abs(coordinates).argmax(0), [0, 1]] > 0).all()
    assert projection(np.ones((1, 3)))[0].tolist() == [[0, 0]]


def test_words_stay_text_whatever_they_spell() -> None:
    frame = pd.DataFrame({"concept": [1, 1], "rank": [1, 0], "word": ["nan", "</script>"], "activation": [0.5, 2.0]})
    frame = frame.assign(share=1.0, occurrences=3)
    assert words_of({"top_words": frame}, np.array([0, 1])) == {0: [], 1: [["</script>", 2.0, 1.0, 3], ["nan", 0.5, 1.0, 3]]}


def tokens(colours: list[int], attributes: dict[str, list[str]]) -> LabelledTokens:
    n = len(colours)
    boxes = np.tile(np.array([0, 0, 4, 4], np.float32), (n, 1))
    classes = np.array(colours, np.int16)[:, None] if attributes else np.zeros((n, 0), np.int16)
    kinds = np.full(n, VISUAL, np.uint8)
    zeros = np.zeros(n, np.int32)
    hidden = np.zeros((n, 2), np.float32)
    rest = (["a"], [], [], attributes)
    return LabelledTokens(hidden, kinds, zeros, zeros - 1, zeros - 1, boxes, classes.any(1), classes, *rest)


def test_purity_stands_beside_its_shuffled_and_its_untrained_twin() -> None:
    colours = [0] * 20 + [1] * 20
    both = {split: tokens(colours, {"colour": ["red", "blue"]}) for split in ("train", "val")}
    codes = {split: sparse.csr_matrix(np.array([[1.0] if colour == 1 else [0.0] for colour in colours])) for split in both}
    rows = [
        ("trained", 0, "red", 0.0, 0.0),
        ("trained", 0, "blue", 1.0, 1.0),
        ("random", 5, "blue", 0.7, 0.6),
        ("random", 6, "blue", 0.6, 0.9),  # better on val, but train chooses
    ]
    values = pd.DataFrame(rows, columns=["dictionary", "concept", "value", "auroc_train", "auroc"]).assign(attribute="colour")
    found = purities({"concept_values": values}, codes, both, 0)
    (row,) = found.to_dict("records")
    assert (row["value"], row["auroc"], row["untrained"], row["untrained_concept"]) == ("blue", 1.0, 0.6, 5)
    assert 0.2 < row["shuffled"] < 0.8


def test_photographs_have_no_purity() -> None:
    both = {split: tokens([0, 0], {}) for split in ("train", "val")}
    assert not len(purities({}, {}, both, 0))
