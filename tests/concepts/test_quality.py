"""Concept quality on drawings with known answers."""

import pytest
import torch

from segcompass.backbone.interface import INSTRUCTION, THOUGHT, VISUAL
from segcompass.concepts.quality import heat_iou, reconstruction, thought_scores
from segcompass.sae.topk import TopKDictionary


def test_heat_iou_joins_slots_and_leaves_the_padding_out() -> None:
    heat = torch.tensor([[[9.0, -9.0, 9.0]], [[-9.0, 9.0, 9.0]]])
    target, valid = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[True, True, False]])
    assert heat_iou(heat, target, valid) == 0.5  # two pixels lit, one of them target, the third is padding
    assert heat_iou(-9 * torch.ones(1, 1, 3), torch.zeros(1, 3), valid) == 1.0


def test_visual_tokens_score_by_the_concepts_of_the_thought() -> None:
    codes = torch.tensor([[0.0, 2.0], [3.0, 0.0], [7.0, 7.0], [0.0, 1.0], [0.0, 3.0]])
    types = torch.tensor([VISUAL, VISUAL, INSTRUCTION, THOUGHT, THOUGHT], dtype=torch.uint8)
    assert thought_scores(codes, types).tolist() == [4.0, 0.0]  # the thought's mean code is (0, 2)
    assert thought_scores(codes[:3], types[:3]).tolist() == [0.0, 0.0], "no thought, no preference"


def test_reconstruction_of_a_dictionary_that_keeps_everything() -> None:
    torch.manual_seed(0)
    dictionary = TopKDictionary(4, 4, 4, 0.0, 10).requires_grad_(False)
    with torch.no_grad():
        dictionary.W_dec.copy_(torch.eye(4))
        dictionary.W_enc.copy_(torch.eye(4))
    x = torch.rand(5, 4)
    error, l0 = reconstruction(dictionary, x, dictionary.encode(x))
    assert error == pytest.approx(0, abs=1e-12) and l0 == 4
    assert reconstruction(dictionary, x, torch.zeros(5, 4))[0] == pytest.approx(float(x.square().mean()))
