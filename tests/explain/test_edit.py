"""What an edit makes of codes, by hand, and what it does to a mask."""

from pathlib import Path

import pytest
import torch

from segcompass.backbone.token_types import INSTRUCTION, THOUGHT, VISUAL
from segcompass.causal.edits import SampleCodes
from segcompass.datasets.images import read_image
from segcompass.errors import InputError
from segcompass.explain.answered import answered, concept_chunk
from segcompass.explain.edit import Editable, EditedCodes, Setting, Swap, codes_of, edited_codes, other_words
from segcompass.joint.inference import Predictor
from tests.arithmetic import same_sums
from tests.joint.conftest import WIDTH

KINDS = torch.tensor([VISUAL, INSTRUCTION, THOUGHT, THOUGHT])
OWN = SampleCodes(torch.tensor([2, 5]), torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [4.0, 0.0]]), KINDS)
OTHER = SampleCodes(torch.tensor([5, 9]), torch.tensor([[7.0, 7.0], [6.0, 8.0]]), torch.tensor([VISUAL, THOUGHT]))
"""One token of the thought, which stands for both of the sample's; no instruction."""


def new(found: EditedCodes, concept: int) -> list[float]:
    return found.new[:, found.concepts.tolist().index(concept)].tolist()


def setting(text: str) -> Setting:
    return Setting.parsed(text)


def test_values_go_where_a_concept_is_active_and_factors_too() -> None:
    found = edited_codes(OWN, None, [([2], setting("a=0.5")), ([5], setting("b=x2"))], None, 0.0)
    assert new(found, 2) == [0.5, 0, 0.5, 0.5] and new(found, 5) == [0, 4, 0, 0]
    assert edited_codes(OWN, None, [([2], setting("a=x3"))], ("thought",), 0.0).new.tolist() == [[1, 0], [0, 2], [9, 0], [12, 0]]


def test_a_value_of_a_silent_concept_goes_to_the_thought() -> None:
    found = edited_codes(OWN, None, [([8], setting("a=1.5"))], None, 0.0)
    assert new(found, 8) == [0, 0, 1.5, 1.5]
    assert new(edited_codes(OWN, None, [([8], setting("a=1.5"))], ("visual",), 0.0), 8) == [1.5, 0, 0, 0]
    assert new(edited_codes(OWN, None, [([8], setting("a=x9"))], None, 0.0), 8) == [0] * 4, "a factor finds nothing to multiply"


def test_settings_follow_each_other_and_swaps_come_first() -> None:
    found = edited_codes(OWN, Swap(OTHER, None), [([9], setting("a=x0.5")), ([9], setting("a=x0.5"))], None, 0.0)
    assert new(found, 9) == [0, 0, 2, 2] and new(found, 5) == [0, 2, 6, 6] and new(found, 2) == [1, 0, 0, 0]


def test_a_swap_of_some_concepts_leaves_the_others() -> None:
    found = edited_codes(OWN, Swap(OTHER, [9, 60]), [], None, 0.0)
    assert new(found, 9) == [0, 0, 8, 8] and new(found, 5) == [0, 2, 0, 0] and new(found, 2) == [1, 0, 3, 4]
    assert found.changed() == [(9, {"visual": 0.0, "instruction": 0.0, "thought": 16.0})]
    assert new(edited_codes(OWN, Swap(OTHER, None), [], ("visual", "instruction"), 0.0), 5) == [7, 2, 0, 0], (
        "no token stands for the instruction's"
    )


def test_codes_below_the_threshold_count_as_nothing() -> None:
    assert new(edited_codes(OWN, None, [([2], setting("a=x0.5"))], None, 1.6), 2) == [0, 0, 0, 2.0]


@pytest.mark.parametrize("text", ["red", "=1", "red=", "red=-1", "red=nan", "red=inf", "red=x-2", "red=xx2", "red=x", "red=1e9", "red=1 2"])
def test_settings_of_another_form_are_one_sentence(text: str) -> None:
    with pytest.raises(InputError, match="--set") as error:
        Setting.parsed(text)
    assert "\n" not in str(error.value)
    assert Setting.parsed("a=b=x2") == Setting("a=b", 2.0, True) and Setting.parsed(" left = 3") == Setting("left", 3.0, False)


def test_a_removal_is_predicted_by_minus_its_contribution_and_the_sham_changes_no_bit(
    predictor: Predictor, asked: tuple[Path, str]
) -> None:
    answer = answered(predictor, read_image(asked[0]), asked[1])
    editable = Editable(predictor, answer)
    own = editable.codes
    concept = int(own.concepts[0])
    outcome = editable.edited(edited_codes(own, None, [([concept], setting("a=0"))], None, 0.0))
    chunk = concept_chunk(predictor.interface_model, answer)
    expected = -float(torch.stack([values[0] for values in chunk.gradients]).mean())
    assert same_sums(torch.tensor(outcome.predicted), torch.tensor(expected), terms=WIDTH * len(own.codes), layers=2)
    assert outcome.sham == (0, chunk.watched.before.numel())
    sham = editable.edited(edited_codes(own, None, [([concept], setting("a=x1"))], None, 0.0))
    assert sham.observed == sham.predicted == sham.observed_mask == sham.predicted_mask == 0 and sham.iou == 1
    assert (sham.mask_before == answer.prediction.masks[answer.slots].any(0)).all(), "the mask is that of `segcompass predict`"


def test_the_codes_of_the_whole_other_thought_have_the_other_thoughts_mask(predictor: Predictor, asked: tuple[Path, str]) -> None:
    """Of one picture and instruction, two thoughts of one length differ in the codes of their tokens, and in the reference states."""
    image = read_image(asked[0])
    one, two = (answered(predictor, image, asked[1], words) for words in ("target : small red ring", "target : large blue disc"))
    swapped = edited_codes(codes_of(predictor, one), Swap(codes_of(predictor, two), None), [], None, 0.0)
    outcome, words = Editable(predictor, one).edited(swapped), other_words(predictor, one, two)
    assert outcome.observed is not None and words.observed is None and words.sham[0] == 0
    assert torch.equal(swapped.new, codes_of(predictor, two).at(swapped.concepts))
    assert (words.mask_after == two.prediction.masks[one.slots].any(0)).all()
