"""The strip of counterfactual pairs: masks and targets by hand, concepts by name, beside the pictures and words that they are of."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcompass.causal.examples import SwapExample
from segcompass.datasets.masks import encode
from segcompass.datasets.samples import Sample, write_samples
from segcompass.explain.names import ConceptName, ConceptNames
from segcompass.reporting.figures.pairs import NAMED, Outcome, pairs_figure, said
from segcompass.reporting.pairs import pair_rows, shown_pairs

SIDE = 4
LEFT, RIGHT = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
LEFT[:, :2], RIGHT[:, 2:] = True, True
NAMES = ConceptNames(9, {3: ConceptName("colour", "red", 0.9), 5: ConceptName("colour", "blue", 0.5, ("thing", "of"))})
EXAMPLE = SwapExample(
    *("colour_test_0", "colour", "counterfactual_colour", "test", ("red", "blue"), "a", "b", "wanted"),
    encode(LEFT),
    {"attribute": encode(LEFT | RIGHT), "matched": encode(RIGHT)},
    {"attribute": [3, 5, 7], "matched": []},
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures, one black and one white; in the first `a` asks for the left half and `wanted` for the right one."""
    asked = (("a", "first.png", LEFT), ("wanted", "first.png", RIGHT), ("b", "second.png", RIGHT))
    for folder in ("root", "manifests/counterfactual_colour", "supervision"):
        (tmp_path / folder).mkdir(parents=True)
    for image, grey in (("first.png", 0), ("second.png", 255)):
        Image.new("RGB", (SIDE, SIDE), (grey,) * 3).save(tmp_path / "root" / image)
    thoughts = [{"sample_id": name, "thought": f"target : {name}"} for name in ("a", "b")]
    (tmp_path / "supervision" / "counterfactual_test.jsonl").write_text("\n".join(map(json.dumps, thoughts)))
    samples = (Sample(name, image, SIDE, SIDE, f"the {name}", False, encode(of), None, (encode(of),)) for name, image, of in asked)
    write_samples(samples, tmp_path / "manifests" / "counterfactual_colour" / "test.jsonl")
    return tmp_path


def test_what_is_shown_is_read_beside_what_was_measured(data: Path) -> None:
    """Half of the picture is 1/2 of all of it: before, all on the own target; then half on each; the control lies on the other one."""
    (pair,) = shown_pairs(data, [EXAMPLE], NAMES)
    assert (pair.edited.text, pair.edited.thought, pair.giving.text, pair.giving.thought) == ("the a", "target : a", "the b", "target : b")
    assert not pair.edited.image.any() and (pair.giving.image == 255).all() and (pair.expected == RIGHT).all()
    fits = [(one.iou_own, one.iou_expected) for one in (pair.before, pair.exchanged, pair.control)]
    assert fits == [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)]
    assert pair.exchanged.concepts == ["3 ‘red’", "5 ‘thing’", "7"] and pair.before.concepts == pair.control.concepts == []
    drawn = pair_rows([EXAMPLE], [pair])
    assert drawn["mask"].tolist() == ["before", "attribute", "matched"] and drawn["iou_expected"].tolist() == [0.0, 0.5, 1.0]
    assert drawn["concepts"].tolist() == ["", "3 ‘red’, 5 ‘thing’, 7", ""]


def test_a_row_holds_both_pictures_and_three_masks(data: Path) -> None:
    """A mask has two lines around it, what it should move to has two more."""
    pairs = shown_pairs(data, [EXAMPLE] * 2, NAMES)
    axes = np.reshape(pairs_figure(pairs).axes, (2, 5))
    assert [len(axis.images) for axis in axes.flat] == [1] * 10
    assert [len(axis.collections) for axis in axes[0]] == [0, 4, 0, 4, 4]
    assert "the a" in axes[1][0].get_xlabel() and "the b" in axes[1][2].get_xlabel() and "colour: red" in axes[1][0].get_ylabel()


def test_concepts_beyond_the_first_are_counted() -> None:
    lines = said(Outcome(LEFT, 0.125, 0.5, [str(number) for number in range(NAMED + 3)]), ("red", "blue"))
    assert lines[:2] == ["IoU with red: 0.12", "IoU with blue: 0.50"] and lines[2].endswith("3 and 3 more")
    assert said(Outcome(~LEFT & LEFT, 0.0, 0.0, []), ("red", "blue")) == ["The mask is empty."]
