"""The embedded world keeps its promises: visibility, unambiguous wording, readable thoughts, faithful masks."""

import numpy as np
import pytest

from segcompass.datasets.masks import decode, from_segmentation
from segcompass.study.data import CounterfactualSettings, SceneCounts, WorldSettings
from segcompass.world.instructions import facts, holds, matching, vocabulary
from segcompass.world.lexicon import COLOUR_FACTS, PATTERNS, SHAPE_FACTS, SIZES
from segcompass.world.render import render
from segcompass.world.scene import LEAST_VISIBLE, Scene, draw_scene, outline
from segcompass.world.splits import BENCHMARK_SPLITS, expressions
from segcompass.world.thoughts import caption, describe, parse_targets
from segcompass.world.write_coco import segmentation

SETTINGS = WorldSettings(
    source="embedded",
    seed=3,
    scenes=SceneCounts(train=1, val=1, testA=1, testB=1, test=1),
    image_sides=[96, 128, 160],
    objects=(3, 8),
    instructions_per_scene=4,
    patterns=True,
    occlusion=True,
    shuffle_masks=False,
    counterfactuals=CounterfactualSettings(pairs=0, splits=["val"]),
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    splits = ("train", "val", "testA", "testB", "test")
    return [draw_scene(n + 1, splits[n % 5], SETTINGS, np.random.default_rng(n)) for n in range(40)]


def test_objects_stay_visible_and_masks_do_not_overlap(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.visible.sum(axis=0).max() <= 1
        for item, seen in zip(scene.objects, scene.visible, strict=True):
            assert seen.sum() >= LEAST_VISIBLE * outline(item, scene.height, scene.width).sum() > 0


def test_polygons_give_the_masks_back(scenes: list[Scene]) -> None:
    for scene in scenes:
        for seen in scene.visible:
            stored = segmentation(seen)
            again = decode(from_segmentation(stored, scene.height, scene.width))
            assert np.array_equal(again, seen)
            assert any(len(polygon) < 6 for polygon in stored), "and the originals' degenerate polygons"


@pytest.mark.parametrize("benchmark", BENCHMARK_SPLITS)
def test_thoughts_name_exactly_the_targets(scenes: list[Scene], benchmark: str) -> None:
    count = 0
    for scene in scenes:
        for expression in expressions(scene, benchmark, SETTINGS):
            named = parse_targets(expression.thought)
            wanted = sorted(describe(scene, scene.objects[target]) for target in expression.targets)
            assert sorted("{} {} {} {} at {}".format(*found) for found in named or []) == wanted
            count += 1
    assert count > 30


def test_plain_wording_fits_its_target_alone(scenes: list[Scene]) -> None:
    keys = {"shape": set(SHAPE_FACTS), "colour": set(COLOUR_FACTS), "size": set(SIZES), "pattern": set(PATTERNS)}
    for scene in scenes:
        for expression in expressions(scene, "refcoco+", SETTINGS):
            words = expression.sentences[0].split()
            named = {key: word for key, values in keys.items() for word in words if word in values}
            assert [o.object_id for o in matching(scene, **named)] == list(expression.targets)


def test_relations_hold_for_the_target_alone(scenes: list[Scene]) -> None:
    seen = 0
    for scene in scenes:
        for expression in expressions(scene, "refcocog", SETTINGS):
            left, _, anchor_words = expression.sentences[0].removeprefix("the ").partition(" that is ")
            relation = next(r for r in ("left of", "right of", "above", "below") if anchor_words.startswith(r))
            colour, shape = anchor_words.removeprefix(relation).removeprefix(" the ").split()
            (anchor,) = matching(scene, colour=colour, shape=shape)
            fitting = [
                o.object_id
                for o in scene.objects
                if o is not anchor
                and all(w in (o.shape, o.colour, "object") for w in left.split())
                and holds(scene, o, relation, anchor, 0.02)
            ]
            assert fitting == list(expression.targets)
            seen += 1
    assert seen > 30


def test_no_target_and_several_targets(scenes: list[Scene]) -> None:
    val = [e for scene in scenes if scene.split == "val" for e in expressions(scene, "grefcoco", SETTINGS)]
    assert {min(len(e.targets), 2) for e in val} == {0, 2}, "val has no single-target expressions"
    for scene in scenes:
        for expression in expressions(scene, "grefcoco", SETTINGS):
            if not expression.targets:
                colour, shape = expression.sentences[0].split()
                assert not matching(scene, colour=colour, shape=shape)


def test_every_word_is_in_the_closed_vocabulary(scenes: list[Scene]) -> None:
    known = set(vocabulary())
    assert len(known) < 300
    for scene in scenes:
        texts = [caption(scene)]
        for benchmark in BENCHMARK_SPLITS:
            for expression in expressions(scene, benchmark, SETTINGS):
                texts += [expression.thought, *expression.sentences]
        assert {word for text in texts for word in text.split()} <= known


def test_facts_cover_every_thing_once() -> None:
    things = [thing for table in (COLOUR_FACTS, SHAPE_FACTS) for values in table.values() for thing in values]
    assert len(things) == len(set(things)) == len(facts())


def test_the_null_twin_changes_targets_and_nothing_else(scenes: list[Scene]) -> None:
    twin = SETTINGS.model_copy(update={"shuffle_masks": True})
    moved = total = 0
    for scene in scenes:
        for real, shuffled in zip(expressions(scene, "refcoco", SETTINGS), expressions(scene, "refcoco", twin), strict=True):
            assert real.sentences == shuffled.sentences and real.thought == shuffled.thought
            moved += (real.targets != shuffled.targets) and scene.split == "train"
            assert scene.split == "train" or real.targets == shuffled.targets
            total += scene.split == "train"
    assert moved > total / 2


def test_rendering_is_reproducible_and_paints_the_masks(scenes: list[Scene]) -> None:
    scene = next(s for s in scenes if any(o.colour == "red" and o.pattern == "plain" for o in s.objects))
    first, second = (render(scene, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, second)
    item = next(o for o in scene.objects if o.colour == "red" and o.pattern == "plain")
    mean = first[scene.visible[item.object_id]].mean(axis=0)
    assert mean[0] > 2 * mean[1] and mean[0] > 2 * mean[2]
