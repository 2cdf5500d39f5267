"""Two ways of answering are taught by the shares of the recipe, and only where the recipe says that the form slips."""

from collections import Counter

import numpy as np
import pytest

from segcompass.backbone.llava import LlavaModel
from segcompass.backbone.prompt import status_of
from segcompass.backbone.training.habits import drawn_answer
from segcompass.backbone.training.language import IGNORED, encode_text
from segcompass.backbone.training.scenes import TaughtText
from segcompass.study.backbone import EmbeddedBackbone, HabitSettings
from segcompass.world.hasty import HastyAnswer
from tests.tiny import SLOTS, micro_study, tiny_vlm

DRAWS = 4000
CONSIDERED, RIGHT, WRONG = "thing : red disc . target : no such object", "target : red", "target : blue"


@pytest.fixture(scope="module")
def vlm() -> LlavaModel:
    return tiny_vlm()


def settings(**changes: float) -> HabitSettings:
    backbone = micro_study().backbone
    assert isinstance(backbone, EmbeddedBackbone)
    shares = {
        "considered_share": 0.3,
        "mistaken_if_tempting": 0.8,
        "mistaken_otherwise": 0.25,
        "broken_form": 0.1,
        "broken_form_several": 0.6,
    }
    return backbone.training.habits.model_copy(update=shares | changes)


def drawn(vlm: LlavaModel, chosen: HabitSettings, tempting: bool, targets: int, draws: int = DRAWS) -> Counter[tuple[str, int]]:
    """How often each thought was drawn with each number of reference tokens."""
    text = TaughtText("red disc", CONSIDERED, HastyAnswer(RIGHT, WRONG, tempting), targets)
    generator, found = np.random.default_rng(0), Counter[tuple[str, int]]()
    prompt = len([label for label in encode_text(vlm, "red disc", "").labels if label == IGNORED])
    for _ in range(draws):
        answer = drawn_answer(vlm, text, chosen, generator)
        assert answer.labels[:prompt] == [IGNORED] * prompt and answer.labels[prompt:] == answer.ids[prompt:], "the prompt is not learnt"
        ids = answer.ids[prompt:]
        words = vlm.processor.tokenizer.decode(ids[1 : ids.index(vlm.special.close)])
        references = ids.count(vlm.special.reference)
        assert status_of(ids, vlm.special) == ("ok" if references == SLOTS else "reference count")
        found[words, references] += 1
    return found


def share(found: Counter[tuple[str, int]], *words: str) -> float:
    return sum(count for (said, _), count in found.items() if said in words) / sum(found.values())


def near(found: float, expected: float, draws: float = DRAWS) -> bool:
    """Within four standard deviations of a share of so many draws."""
    return abs(found - expected) <= 4 * (expected * (1 - expected) / draws) ** 0.5


@pytest.mark.parametrize(("tempting", "mistaken"), [(True, 0.8), (False, 0.25)])
def test_answers_are_considered_hasty_and_mistaken_in_the_shares_of_the_recipe(vlm: LlavaModel, tempting: bool, mistaken: float) -> None:
    found = drawn(vlm, settings(), tempting, 1)
    assert {words for words, _ in found} == {CONSIDERED, RIGHT, WRONG}
    assert (
        near(share(found, CONSIDERED), 0.3)
        and near(share(found, WRONG), 0.7 * mistaken)
        and near(share(found, RIGHT), 0.7 * (1 - mistaken))
    )


@pytest.mark.parametrize(("targets", "broken"), [(0, 0.1), (1, 0.1), (2, 0.6), (4, 0.6)])
def test_the_form_slips_by_one_reference_token_more_or_less(vlm: LlavaModel, targets: int, broken: float) -> None:
    found = drawn(vlm, settings(), True, targets)
    references: Counter[int] = Counter()
    for (_, number), count in found.items():
        references[number] += count
    assert set(references) == {SLOTS - 1, SLOTS, SLOTS + 1}
    assert near(1 - references[SLOTS] / DRAWS, broken) and near(references[SLOTS + 1] / DRAWS, broken / 2)
    # The slip says nothing of what is said.
    slipped = Counter({key: count for key, count in found.items() if key[1] != SLOTS})
    assert near(share(slipped, CONSIDERED), 0.3, slipped.total())


def test_shares_of_nothing_and_of_everything_are_exact(vlm: LlavaModel) -> None:
    never = {"broken_form": 0.0, "broken_form_several": 0.0}
    assert set(drawn(vlm, settings(considered_share=1.0, **never), True, 1, 200)) == {(CONSIDERED, SLOTS)}
    always = settings(considered_share=0.0, mistaken_if_tempting=1.0, mistaken_otherwise=0.0, **never)
    assert set(drawn(vlm, always, True, 1, 200)) == {(WRONG, SLOTS)} and set(drawn(vlm, always, False, 1, 200)) == {(RIGHT, SLOTS)}
    broken = settings(broken_form=1.0, broken_form_several=0.0)
    assert SLOTS not in {number for _, number in drawn(vlm, broken, True, 1, 200)}
    assert {number for _, number in drawn(vlm, broken, True, 2, 200)} == {SLOTS}
