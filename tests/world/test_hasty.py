"""Hasty answers: right or mistaken, they name their target at once; a mistake means other objects, and the decoy is the one of the rule."""

from dataclasses import replace

import numpy as np
import pytest

from segcompass.study.data import WorldSettings
from segcompass.world.hasty import hasty_answer
from segcompass.world.instructions import Expression
from segcompass.world.scene import Scene, SceneObject, draw_scene
from segcompass.world.splits import BENCHMARK_SPLITS, expressions, implicit_expressions
from segcompass.world.thoughts import (
    describe,
    is_considered,
    parse_targets,
    thought,
    thought_is_right,
    without_considering,
    without_request,
)
from tests.tiny import micro_study

WORLD = micro_study().data
assert isinstance(WORLD, WorldSettings)
SETTINGS = WORLD.model_copy(update={"seed": 3, "image_sides": [96, 128, 160], "objects": (3, 8), "instructions_per_scene": 4})
SEEN = np.ones((1, 1, 1), bool)
"""Nothing here looks at pixels."""


@pytest.fixture(scope="module")
def worded() -> list[tuple[Scene, Expression]]:
    """Expressions of every benchmark, and those that teach its wording, about many scenes."""
    found = []
    for number in range(250):
        scene = draw_scene(number + 1, "train", SETTINGS, np.random.default_rng([7, number]))
        own = [one for benchmark in BENCHMARK_SPLITS for one in expressions(scene, benchmark, SETTINGS)]
        found += [(scene, expression) for expression in own + implicit_expressions(scene, SETTINGS)]
    return found


def test_a_mistake_names_other_objects_and_names_them_at_once(worded: list[tuple[Scene, Expression]]) -> None:
    kinds = {0: 0, 1: 0, 2: 0}
    for scene, expression in worded:
        answer = hasty_answer(scene, expression)
        right, wrong = parse_targets(answer.right), parse_targets(answer.wrong)
        assert right is not None and wrong is not None and sorted(right) != sorted(wrong), (expression.sentences, answer)
        assert thought_is_right(answer.right, expression.thought) and not thought_is_right(answer.wrong, expression.thought)
        assert not is_considered(answer.right) and not is_considered(answer.wrong) and is_considered(expression.thought)
        kinds[min(2, len(expression.targets))] += 1
    assert min(kinds.values()) > 200, "expressions for nothing, for one object and for several"


def test_tempting_mistakes_are_neither_rare_nor_the_rule(worded: list[tuple[Scene, Expression]]) -> None:
    tempting = np.mean([hasty_answer(scene, expression).tempting for scene, expression in worded])
    assert 0.15 < tempting < 0.6


def scene(*objects: tuple[str, str, str, float, float, float]) -> Scene:
    """Plain objects (size, colour, shape, radius, row, column) on 90 x 90 pixels."""
    made = tuple(SceneObject(index, one[2], one[1], one[0], "plain", one[4], one[5], one[3]) for index, one in enumerate(objects))
    return Scene(1, "train", 90, 90, made, SEEN)


STILL = scene(
    ("small", "red", "disc", 8, 10, 10),
    ("large", "red", "ring", 14, 10, 80),
    ("large", "blue", "disc", 16, 80, 10),
    ("large", "green", "star", 17, 80, 80),
)


def answered(shown: Scene, targets: tuple[int, ...], near: tuple[int, ...] = ()) -> tuple[list[int], bool]:
    """Objects that the mistake names, and whether it is tempting."""
    answer = hasty_answer(shown, Expression(("x",), targets, "target : x", near=near))
    assert answer.right == thought(shown, [shown.objects[target] for target in targets])
    named = sorted(" ".join((*words[:4], "at", words[4])) for words in parse_targets(answer.wrong) or [])
    by_words = {describe(shown, item): item.object_id for item in shown.objects}
    return sorted(by_words[words] for words in named), answer.tempting


def test_the_decoy_is_the_largest_object_that_shares_colour_or_shape() -> None:
    # Object 1 shares the red disc's colour, 2 its shape and is larger than 1; the star is larger still and shares neither.
    assert answered(STILL, (0,)) == ([2], True)
    # Of the large blue disc only the small red one shares anything.
    assert answered(STILL, (2,)) == ([0], False), "a small decoy tempts nobody"
    # Of the large ring only the small disc shares anything; of the star nothing does, so its decoy is the largest of the others.
    assert answered(STILL, (1,)) == ([0], False)
    assert answered(STILL, (3,)) == ([2], False), "what shares nothing does not tempt"


def test_a_large_target_is_mistaken_too_but_does_not_tempt() -> None:
    shown = scene(("large", "red", "disc", 14, 10, 10), ("large", "red", "ring", 16, 10, 80), ("small", "red", "star", 8, 80, 10))
    assert answered(shown, (0,)) == ([1], False)
    assert answered(shown, (2,)) == ([1], True)


def test_an_object_that_is_worded_like_the_target_is_no_decoy() -> None:
    """Two small red discs at the top left, told apart by a relation: naming the other one would be right by its words."""
    twins = scene(
        ("small", "red", "disc", 8, 10, 5),
        ("small", "red", "disc", 9, 20, 25),
        ("small", "red", "ring", 7, 80, 80),
        ("large", "blue", "star", 16, 80, 10),
    )
    assert describe(twins, twins.objects[0]) == describe(twins, twins.objects[1])
    assert answered(twins, (0,)) == ([2], False)


def test_several_targets_are_cut_down_to_the_large_ones() -> None:
    assert answered(STILL, (0, 1)) == ([1], True)
    assert answered(STILL, (0, 1, 2)) == ([1, 2], True)
    # All are large: nothing strikes the eye, and the smallest is forgotten.
    assert answered(STILL, (1, 2, 3)) == ([2, 3], False)
    small = scene(("small", "red", "disc", 8, 10, 10), ("small", "red", "ring", 7, 10, 80), ("large", "blue", "disc", 16, 80, 10))
    assert answered(small, (0, 1)) == ([0], False)


@pytest.mark.parametrize(("near", "tempting"), [(0, False), (2, True)])
def test_what_fits_nothing_is_given_what_it_nearly_fits(near: int, tempting: bool) -> None:
    assert answered(STILL, (), (near,)) == ([near], tempting)


def test_wordless_parts_of_thoughts_by_hand() -> None:
    item, anchor = STILL.objects[0], STILL.objects[2]
    end = "target : small red plain disc at top left"
    assert thought(STILL, [item]) == end
    asked = thought(STILL, [item], "red disc")
    assert asked == f"thing : red disc . {end}"
    assert without_request(asked) == end == without_considering(asked)
    related = thought(STILL, [item], anchor=anchor, relation="above")
    assert related == f"anchor : large blue plain disc at bottom left . above anchor . {end}"
    assert without_request(related) == related and without_considering(related) == end, "only the request is said again"
    told = thought(STILL, [item], fact="a ripe tomato is red")
    assert without_request(told) == told and without_considering(told) == end
    assert without_request(end) == end == without_considering(end)
    assert without_considering("small red plain disc") == "small red plain disc", "what names nothing is kept whole"
    nothing = thought(STILL, [], "red star")
    assert without_considering(nothing) == "target : no such object" == without_request(nothing)


@pytest.mark.parametrize(
    ("answer", "considered"),
    [
        ("<think> thing : red disc . target : no such object </think> <REF_POS>", True),
        ("<think> target : no such object </think> <REF_POS>", False),
        ("thing : red disc . target : no such object", True),
        ("target : no such object", False),
        ("<think> a ripe tomato is red . target : x", True),
        ("<think> thing : red disc . </think> target : no such object", False),  # names nothing within the thought
        ("<think> </think> <REF_POS>", False),
        ("", False),
    ],
)
def test_an_answer_is_considered_if_its_thought_says_anything_before_the_target(answer: str, considered: bool) -> None:
    assert is_considered(answer) == considered


def test_every_gold_thought_is_considered_and_cut_to_its_hasty_form(worded: list[tuple[Scene, Expression]]) -> None:
    for shown, expression in worded:
        targets = [shown.objects[index] for index in expression.targets]
        assert without_considering(expression.thought) == thought(shown, targets) == hasty_answer(shown, replace(expression)).right
        bare = without_request(expression.thought)
        assert bare.endswith(thought(shown, targets)) and not bare.startswith("thing : ")
        assert (bare == expression.thought) == (not expression.thought.startswith("thing : "))
