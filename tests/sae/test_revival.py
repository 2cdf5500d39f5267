"""Losses on silent concepts, by hand."""

import pytest
import torch

from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.revival import missing_drive, silent_concepts


def test_silent_concepts_are_driven_to_their_thresholds() -> None:
    dictionary = ReluL1Dictionary(2, 2, 0.0, 0.5, 0.1, 10)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
        dictionary.b_enc.copy_(torch.tensor([-3.0, 1.0]))
        dictionary.W_dec.copy_(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
    dictionary.count_silent(torch.tensor([0, 1]), 11)
    assert silent_concepts(dictionary, 10).tolist() == [0] and silent_concepts(dictionary, 11).tolist() == []
    x = torch.tensor([[1.0, 0.0], [4.0, 0.0]])
    # Concept 1 has pre-activations -2 and 1: 2 below zero on one of two tokens, its row's norm is 2: (2 * 2 + 0) / 2 = 2.
    loss = missing_drive(dictionary, x, torch.tensor([0]), torch.zeros(1))
    assert loss.item() == pytest.approx(2.0)
    loss.backward()
    # Raising its bias by 1 lowers that by 2 / 2.
    assert dictionary.b_enc.grad is not None and dictionary.b_enc.grad.tolist() == [-1.0, 0.0]
    assert dictionary.losses(x)[0]["revival"].item() == pytest.approx(0.1 * 2.0)


def test_a_living_dictionary_has_no_such_loss() -> None:
    dictionary = ReluL1Dictionary(2, 2, 0.0, 0.5, 0.1, 10)
    assert dictionary.losses(torch.ones(3, 2))[0]["revival"].item() == 0.0


def test_training_begins_with_the_stated_density() -> None:
    torch.manual_seed(0)
    dictionary, x = ReluL1Dictionary(8, 32, initial_density=0.1), torch.randn(1000, 8) + 2.0
    dictionary.start_at(x, x.mean(0))
    active = (dictionary.encode(x) > 0).float().mean(0)
    assert active.min() == pytest.approx(0.1, abs=0.002) and active.max() == pytest.approx(0.1, abs=0.002)
