"""The control that reads the thought's words: boxes where they say, nothing where they say nothing."""

import torch

from segcompass.backbone.prompt import answer_text
from segcompass.joint.text_readout import TextReadout, place_extent
from tests.tiny import SLOTS, pictures, tiny_vlm


def heat_of(thought: str, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    vlm = tiny_vlm()
    prompts = vlm.prompts(pictures(1), ["red ring"])
    ids = torch.tensor([[*vlm.processor.tokenizer.encode(answer_text(thought, SLOTS), add_special_tokens=False), vlm.end_id]])
    states = vlm.lower(prompts, ids, torch.ones_like(ids, dtype=torch.bool))
    return TextReadout(SLOTS)(vlm, states, valid)


def test_each_described_target_takes_a_slot_and_its_place_is_a_box() -> None:
    valid = torch.zeros(1, 12, 12, dtype=torch.bool)
    valid[:, :9, :6] = True  # an image of 9 x 6, so places are 3 x 2
    heat, confidence = heat_of("target : small red plain ring at top left ; large blue plain disc at bottom", valid)
    assert (confidence[0] > 0).tolist() == [True, True, False, False]
    assert (heat[0, 0] > 0).nonzero().tolist() == [[row, column] for row in range(3) for column in range(2)]
    assert (heat[0, 1] > 0).nonzero().tolist() == [[row, column] for row in range(6, 9) for column in range(2, 4)]
    assert (heat[0, 2:] < 0).all()


def test_no_target_and_unreadable_words_leave_no_slot_confident() -> None:
    valid = torch.ones(1, 9, 9, dtype=torch.bool)
    for words in ("target : no such object", "red ring left of", ""):
        heat, confidence = heat_of(words, valid)
        assert (confidence < 0).all() and (heat < 0).all()


def test_the_nine_places_tile_the_image() -> None:
    valid = torch.ones(10, 7, dtype=torch.bool)
    covered = torch.zeros(10, 7)
    for place in ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right"):
        covered[place_extent(place, valid)] += 1
    assert (covered == 1).all()
