"""A counterfactual pair differs in one attribute of one object and in nothing else, and its expressions mean exactly what they should."""

from dataclasses import asdict

import numpy as np
import pytest

from segcompass.datasets.splits import COUNTERFACTUALS
from segcompass.study.data import CounterfactualSettings, SceneCounts, WorldSettings
from segcompass.world.counterfactual import FRAMES, ROWS, SPLITS, ScenePair, draw_pair, pictures, varied_attributes
from segcompass.world.instructions import vocabulary
from segcompass.world.lexicon import ATTRIBUTES, PLACES
from segcompass.world.render import as_jpeg, draw_chance, paint
from segcompass.world.scene import LEAST_APART, LEAST_VISIBLE, Scene, SceneObject, draw_scene, outline
from segcompass.world.splits import expressions
from segcompass.world.thoughts import describe, parse_targets

SETTINGS = WorldSettings(
    source="embedded",
    seed=3,
    scenes=SceneCounts(train=1, val=1, testA=1, testB=1, test=1),
    image_sides=[96, 128, 160],
    objects=(2, 8),
    instructions_per_scene=4,
    patterns=True,
    occlusion=True,
    shuffle_masks=False,
    counterfactuals=CounterfactualSettings(pairs=8, splits=["val", "test"]),
)
KEYS = {"colour": {"colour"}, "shape": {"shape"}, "size": {"size", "radius"}, "pattern": {"pattern"}, "place": {"row", "column"}}
"""Attribute -> what an object's fields say of it."""
WORDS = {value: attribute for attribute, values in ATTRIBUTES.items() if attribute != "place" for value in values}


@pytest.fixture(scope="module", params=[*ATTRIBUTES, "apart"])
def pairs(request: pytest.FixtureRequest) -> list[ScenePair]:
    if request.param == "apart":
        apart = SETTINGS.model_copy(update={"occlusion": False, "objects": (3, 5)})
        return [draw_pair(attribute, "test", number, apart) for attribute in ATTRIBUTES for number in range(2)]
    return [draw_pair(request.param, split, number, SETTINGS) for split in SPLITS for number in range(8)]


def values_of(scene: Scene, item: SceneObject) -> dict[str, str]:
    return {key: scene.place(item) if key == "place" else getattr(item, key) for key in ATTRIBUTES}


def named_by(sentence: str) -> dict[str, str]:
    """What a sentence names, read from its words alone."""
    named = {WORDS[word]: word for word in sentence.split() if word in WORDS}
    bare = " ".join(word for word in sentence.split() if word not in (*WORDS, "the", "on", "object"))
    if bare:
        assert bare in PLACES
        named["place"] = bare
    return named


def test_one_attribute_of_one_object_differs(pairs: list[ScenePair]) -> None:
    for pair in pairs:
        before, after = pair.scenes
        assert (before.height, before.width, before.split) == (after.height, after.width, after.split)
        for first, second in zip(before.objects, after.objects, strict=True):
            differing = {key for key, value in asdict(first).items() if value != asdict(second)[key]}
            assert differing == (KEYS[pair.attribute] if first.object_id == pair.edited else set())
        first, second = (values_of(scene, scene.objects[pair.edited]) for scene in pair.scenes)
        assert {key for key in ATTRIBUTES if first[key] != second[key]} == {pair.attribute}
        assert (first[pair.attribute], second[pair.attribute]) == pair.values


def test_pictures_are_equal_outside_the_edited_masks(pairs: list[ScenePair]) -> None:
    for pair in pairs:
        first, second = pictures(pair, 0)
        masks = [scene.visible[pair.edited] for scene in pair.scenes]
        changed = (first != second).any(axis=-1)
        assert changed.any() and not changed[~(masks[0] | masks[1])].any()
        for one, other in zip(*(np.delete(scene.visible, pair.edited, 0) for scene in pair.scenes), strict=True):
            assert not (one != other)[~(masks[0] | masks[1])].any()


def test_pictures_look_like_the_files_of_the_benchmarks(pairs: list[ScenePair]) -> None:
    for pair in pairs:
        chance = draw_chance(pair.scenes[0], np.random.default_rng([0, pair.scenes[0].scene_id, 1]))
        for scene, picture in zip(pair.scenes, pictures(pair, 0), strict=True):
            plain, mask = as_jpeg(paint(scene, chance)), scene.visible[pair.edited]
            assert np.array_equal(picture[mask], plain[mask])
            rows, columns = np.nonzero(mask)
            far = np.ones_like(mask)  # the encoder's blocks of 16 pixels that the object touches, and one more for smoothed chroma
            far[max(0, rows.min() - 32) : rows.max() + 33, max(0, columns.min() - 32) : columns.max() + 33] = False
            assert np.array_equal(picture[far], plain[far])
            assert np.abs(picture.astype(int) - plain).mean() < 1


def test_scenes_are_scenes_of_the_world(pairs: list[ScenePair]) -> None:
    for pair in pairs:
        for scene in pair.scenes:
            assert 3 <= len(scene.objects) <= SETTINGS.objects[1]
            assert [item.object_id for item in scene.objects] == list(range(len(scene.objects)))
            assert scene.visible.sum(axis=0).max() <= 1
            for item, visible in zip(scene.objects, scene.visible, strict=True):
                assert visible.sum() >= LEAST_VISIBLE * outline(item, scene.height, scene.width).sum()
                assert item.radius <= item.row <= scene.height - item.radius and item.radius <= item.column <= scene.width - item.radius
                others = [other for other in scene.objects if other is not item]
                apart = [max(abs(item.row - other.row), abs(item.column - other.column)) for other in others]
                assert min(apart) >= LEAST_APART * max(scene.height, scene.width)


def test_every_sentence_means_its_targets_alone(pairs: list[ScenePair]) -> None:
    for pair in pairs:
        for scene, worded in zip(pair.scenes, pair.expressions, strict=True):
            for role, expression in worded.items():
                (sentence,) = expression.sentences
                named = named_by(sentence)
                assert (pair.attribute in named) == (role != "unnamed")
                fitting = [item.object_id for item in scene.objects if named.items() <= values_of(scene, item).items()]
                assert fitting == list(expression.targets)
                thought = parse_targets(expression.thought)
                assert thought is not None
                assert ["{} {} {} {} at {}".format(*found) for found in thought] == [
                    describe(scene, scene.objects[target]) for target in expression.targets
                ]


def test_who_is_meant(pairs: list[ScenePair]) -> None:
    for pair in pairs:
        first, second = ({role: expression.targets for role, expression in worded.items()} for worded in pair.expressions)
        assert first["unnamed"] == second["unnamed"] == first["lone_first"] == second["lone_second"] == (pair.edited,)
        assert second["lone_first"] == first["lone_second"] == ()
        twins = {first["twin_first"], first["twin_second"], (pair.edited,)}
        assert len(twins) == 3 and all(len(targets) == 1 for targets in twins)
        assert (first["twin_first"], first["twin_second"]) == (second["twin_first"], second["twin_second"])
        for scene in pair.scenes:
            one, other = (values_of(scene, scene.objects[first[role][0]]) for role in ("twin_first", "twin_second"))
            assert {key for key in ATTRIBUTES if one[key] != other[key]} == {pair.attribute}
            assert (one[pair.attribute], other[pair.attribute]) == pair.values


def test_an_exchange_leads_to_the_other_sides_target_and_tokens_correspond(pairs: list[ScenePair]) -> None:
    assert {kind for kind, *_ in ROWS} == {"cause", "isolation", "presence", "contrast"}
    for pair in pairs:
        for kind, *asked in ROWS:
            sides = list(zip(pair.expressions, asked, strict=True))
            (run, expected), (other_run, other_expected) = ((worded[role], worded[after]) for worded, (role, after) in sides)
            assert expected.targets == other_run.targets and other_expected.targets == run.targets
            words, other_words = run.sentences[0].split(), other_run.sentences[0].split()
            assert len(words) == len(other_words)
            assert (words == other_words) == (kind in ("isolation", "presence"))
            assert (expected.targets == run.targets) == (kind in ("isolation", "contrast"))
            if kind != "presence":
                thoughts = run.thought.split(), other_run.thought.split()
                differing = [pair_of for pair_of in zip(*thoughts, strict=True) if pair_of[0] != pair_of[1]]
                assert {word for pair_of in differing for word in pair_of} <= set(" ".join(pair.values).split())
                assert differing


def test_phrases_are_worded_as_the_benchmarks_are() -> None:
    scenes = [draw_scene(number, "train", SETTINGS, np.random.default_rng(number)) for number in range(60)]
    taught = {
        (tuple(named_by(sentence)), sentence.startswith("the "), " on the " in sentence)
        for benchmark in ("refcoco", "refcoco+")
        for scene in scenes
        if len(scene.objects) > 2
        for expression in expressions(scene, benchmark, SETTINGS)
        for sentence in expression.sentences
    }
    assert {frozenset(frame) for frame, *_ in taught} == {frozenset(frame) for frame in FRAMES}
    drawn = [draw_pair(attribute, "val", number, SETTINGS) for attribute in ATTRIBUTES for number in range(6)]
    known = set(vocabulary())
    for pair in drawn:
        for worded in pair.expressions:
            for expression in worded.values():
                (sentence,) = expression.sentences
                assert (tuple(named_by(sentence)), sentence.startswith("the "), " on the " in sentence) in taught
                assert {*sentence.split(), *expression.thought.split()} <= known


def test_pairs_have_their_own_numbers_and_stay_when_more_are_asked_for() -> None:
    ids = [scene.scene_id for a in ATTRIBUTES for s in SPLITS for n in (0, 1) for scene in draw_pair(a, s, n, SETTINGS).scenes]
    assert len(set(ids)) == len(ids) == 40 and min(ids) >= 5_000_000 and max(ids) < 10_000_000
    more = SETTINGS.model_copy(update={"counterfactuals": CounterfactualSettings(pairs=100, splits=["test"])})
    one, again = draw_pair("size", "test", 1, SETTINGS), draw_pair("size", "test", 1, more)
    assert one.scenes[1].objects == again.scenes[1].objects and one.expressions == again.expressions


def test_an_attribute_that_does_not_vary_has_no_pairs() -> None:
    assert varied_attributes(SETTINGS) == list(ATTRIBUTES) == list(COUNTERFACTUALS)
    assert varied_attributes(SETTINGS.model_copy(update={"patterns": False})) == ["colour", "shape", "size", "place"]
