"""Which expressions each benchmark's split holds: splits are by scene, testA has round targets, testB angular ones."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from segcompass.datasets.splits import EVALUATION_SPLITS
from segcompass.study.data import WorldSettings
from segcompass.world.instructions import Expression, Wording, implicit, wordings
from segcompass.world.lexicon import ROUND_SHAPES
from segcompass.world.scene import Scene, SceneObject

BENCHMARK_SPLITS = {benchmark: ("train", *splits) for benchmark, splits in EVALUATION_SPLITS.items()}


def expressions(scene: Scene, benchmark: str, settings: WorldSettings) -> list[Expression]:
    """Up to `instructions_per_scene` expressions of a scene for a benchmark, targets drawn in random order.

    With `shuffle_masks` (the null twin) each training expression points to other objects of its scene, drawn at random, so that
    words and masks are unrelated while images, counts and areas stay as they are.
    """
    generator = np.random.default_rng([settings.seed, scene.scene_id, list(BENCHMARK_SPLITS).index(benchmark)])
    found = _worded(scene, wordings(benchmark, scene.split), settings.instructions_per_scene, generator)
    if settings.shuffle_masks and scene.split == "train":
        return [_unrelated(scene, expression, generator) for expression in found]
    return found


def implicit_expressions(scene: Scene, settings: WorldSettings) -> list[Expression]:
    """Up to `instructions_per_scene` expressions that teach ReasonSeg's wording, for the backbone's text alone."""
    generator = np.random.default_rng([settings.seed, scene.scene_id, len(BENCHMARK_SPLITS)])
    return _worded(scene, [implicit], settings.instructions_per_scene, generator)


def _worded(scene: Scene, kinds: list[Wording], count: int, generator: np.random.Generator) -> list[Expression]:
    found: list[Expression] = []
    for item in _targets(scene, generator):
        expression = kinds[len(found) % len(kinds)](scene, item, generator)
        if expression is not None and all(expression.sentences != other.sentences for other in found):
            found.append(expression)
        if len(found) == count:
            break
    return found


def _targets(scene: Scene, generator: np.random.Generator) -> Iterator[SceneObject]:
    wanted = {"testA": True, "testB": False}.get(scene.split)
    for index in generator.permutation(len(scene.objects)):
        item = scene.objects[index]
        if wanted is None or (item.shape in ROUND_SHAPES) == wanted:
            yield item


def _unrelated(scene: Scene, expression: Expression, generator: np.random.Generator) -> Expression:
    count = len(expression.targets)
    drawn = generator.permutation(len(scene.objects))[:count]
    return replace(expression, targets=tuple(sorted(int(index) for index in drawn)))
