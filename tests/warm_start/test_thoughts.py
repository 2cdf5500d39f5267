"""What a warm start's thoughts say: the phrase and how many objects are annotated, nothing else, and the same words every time."""

import numpy as np
import pytest

from segcompass.datasets.masks import empty
from segcompass.datasets.samples import Sample
from segcompass.warm_start.thoughts import NONE, ONE, SEVERAL, phrase_thought

PHRASE = "the man  in\nred"


def sample(objects: int) -> Sample:
    nothing = empty(4, 4)
    return Sample("s", "i.png", 4, 4, PHRASE, objects == 0, nothing, None, (nothing,) * objects)


def thoughts(objects: int) -> set[str]:
    return {phrase_thought(sample(objects), np.random.default_rng(seed)) for seed in range(40)}


@pytest.mark.parametrize(("objects", "wordings"), [(0, NONE), (1, ONE), (2, SEVERAL), (7, SEVERAL)])
def test_a_thought_says_how_many_objects_are_annotated_and_then_the_phrase(objects: int, wordings: tuple[str, ...]) -> None:
    """White space of the phrase is that of one line."""
    found = thoughts(objects)
    assert found == {wording.format(count=objects, phrase="the man in red") for wording in wordings}
    assert all(thought.endswith(": the man in red") for thought in found)
    assert all((str(objects) in thought) == (objects > 1) for thought in found)


def test_the_phrase_is_no_wording_of_ours() -> None:
    """Braces of a phrase stay what they are."""
    odd = Sample("s", "i.png", 4, 4, "{count} men {phrase}", False, empty(4, 4), None, (empty(4, 4),))
    assert phrase_thought(odd, np.random.default_rng(0)).endswith(": {count} men {phrase}")


def test_the_generator_alone_chooses_the_wording() -> None:
    twice = [[phrase_thought(sample(1), np.random.default_rng([3, place])) for place in range(20)] for _ in range(2)]
    assert twice[0] == twice[1] and len(set(twice[0])) == len(ONE)
