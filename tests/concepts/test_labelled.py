"""Labelled tokens: their truth, their files, and which expressions they come from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segcompass.backbone.training.scenes import TrainingScene
from segcompass.concepts.labelled import ARRAYS, load_labelled
from segcompass.concepts.truth import VALUES, instance_truth, scene_truth
from segcompass.datasets.masks import empty, encode
from segcompass.datasets.samples import Sample
from segcompass.errors import InputError
from segcompass.stages.label_tokens import chosen_samples
from tests.concepts.drawn import BOXES, drawn_tokens


def test_kinds_and_labels_of_drawn_tokens() -> None:
    tokens = drawn_tokens(images=3)
    counts = {kind: int(mask.sum()) for kind, mask in tokens.kinds().items()}
    assert counts == {"all": 21, "visual": 15, "instance": 3, "background": 9, "instruction": 3, "thought": 3}
    assert tokens.seen.sum() == 12, "the padding is seen by no one"
    assert tokens.values() == [("colour", "red"), ("colour", "blue"), ("colour", "green")]
    assert (tokens.labels().sum(1) == tokens.instance).all()
    assert replace(tokens, classes=np.zeros((21, 0), np.int16), attributes={}).labels().shape == (21, 0)


def test_files_give_back_what_was_saved_and_damage_is_one_sentence(tmp_path: Path) -> None:
    tokens = drawn_tokens(images=2)
    tokens.save(tmp_path, "val", 2)
    found = load_labelled(tmp_path, "val")
    assert all(np.array_equal(getattr(found, name), getattr(tokens, name)) for name in ARRAYS)
    assert (found.images, found.samples, found.words, found.attributes) == (tokens.images, tokens.samples, tokens.words, tokens.attributes)
    (tmp_path / "val.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(InputError, match=r"val.safetensors, val.json: are missing or damaged"):
        load_labelled(tmp_path, "val")
    with pytest.raises(InputError, match=r"train"):
        load_labelled(tmp_path, "train")


def test_the_truth_of_a_scene_names_attributes_and_the_objects_place() -> None:
    labels = np.zeros((4, 4), np.uint8)
    labels[0:2, 2:4] = 1  # under token 1
    classes = np.array([[VALUES["colour"].index("blue"), VALUES["shape"].index("ring"), 0, 0, VALUES["place"].index("top right")]])
    picture = np.zeros((4, 4, 3), np.uint8)
    scene = TrainingScene("i", picture, "", (), labels, classes, np.array([[0.9, 3.5]], np.float32))
    instance, found = scene_truth(scene, BOXES)
    assert instance.tolist() == [False, True, False, False, False]
    names = [VALUES[attribute][number] for attribute, number in zip(VALUES, found[1], strict=True)]
    assert names == ["blue", "ring", "small", "plain", "top right"]
    assert (found[[0, 2, 3, 4]] == -1).all()


def test_the_truth_of_a_photograph_is_that_of_its_annotated_instances() -> None:
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[0, 0] = True  # a quarter of token 0
    b[2:4, 2] = True  # half of token 3
    instance, classes = instance_truth([encode(a), encode(b)], BOXES, 4, 4)
    assert instance.tolist() == [False, False, False, True, False] and classes.shape == (5, 0)


def test_expressions_are_spread_over_those_of_an_image() -> None:
    nothing = empty(2, 2)
    samples = [Sample(f"s{number}", f"i{number % 2}", 2, 2, "x", True, nothing, None, ()) for number in range(10)]
    chosen = chosen_samples(samples, images=1, expressions=3)
    assert [sample.sample_id for sample in chosen] == ["s0", "s4", "s8"]
    assert len(chosen_samples(samples, images=9, expressions=9)) == 10
