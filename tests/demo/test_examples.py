"""Examples come from the world's own code, and from the world that the run lives in."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from segcompass.demo.examples import DEFAULT_STUDY, drawn_examples, world_of
from segcompass.demo.questions import Run
from segcompass.study.load import load_study
from segcompass.world.lexicon import ATTRIBUTES
from tests.tiny import micro_study


def test_each_attribute_has_a_pair_that_differs_in_it_alone() -> None:
    world = micro_study().data
    found = drawn_examples(world)
    assert [example.attribute for example in found] == list(ATTRIBUTES)
    for example in found:
        first, second = example.sides
        assert first.image.dtype == np.uint8 and first.image.shape == second.image.shape
        assert 0 < (first.image != second.image).any(2).mean() < 0.25
        differing = set(first.instruction.split()) ^ set(second.instruction.split())
        assert differing and all(any(word in value.split() for value in ATTRIBUTES[example.attribute]) for word in differing)
    again = drawn_examples(world)
    assert all(np.array_equal(a.sides[0].image, b.sides[0].image) for a, b in zip(found, again, strict=True))


def test_worlds_without_pairs_have_no_examples() -> None:
    world = micro_study().data
    assert drawn_examples(None) == [] and drawn_examples(world.model_copy(update={"objects": (1, 2)})) == []
    plain = drawn_examples(world.model_copy(update={"patterns": False}))
    assert [example.attribute for example in plain] == [name for name in ATTRIBUTES if name != "pattern"]


def test_the_world_is_the_runs(shown: Run, tmp_path: Path) -> None:
    stored = shown.stored
    assert world_of(stored) == micro_study().data
    assert world_of(replace(stored, study=None)) == load_study(DEFAULT_STUDY).data
    assert world_of(replace(stored, study=tmp_path)) is None
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "run.json").write_text('{"params": {"data": {"source": "root", "root": "here", "partitions": {}}}}')
    assert world_of(replace(stored, study=tmp_path)) is None
