"""JumpReLU: gradients through the rectangle kernel, by hand."""

import pytest
import torch

from segcompass.sae.jumprelu import JumpReluDictionary


def test_gradients_by_hand() -> None:
    dictionary = JumpReluDictionary(1, 2, l0_coefficient=1.0, bandwidth=0.5, initial_threshold=1.0)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.ones(1, 2))
        dictionary.b_enc.copy_(torch.tensor([0.1, 5.0]))
        dictionary.W_dec.copy_(torch.tensor([[1.0], [0.0]]))
    losses, uses = dictionary.losses(torch.tensor([[1.0]]))
    # Pre-activations 1.1 and 6: both active, L0 = 2; reconstruction 1.1, error 0.01.
    assert losses["l0"].item() == 2.0 and losses["mse"].item() == pytest.approx(0.01, abs=1e-6) and uses.tolist() == [1, 1]
    losses["l0"].backward(retain_graph=True)
    # Only 1.1 lies within 0.25 of its threshold: -1 / 0.5.
    assert dictionary.threshold.grad is not None and dictionary.threshold.grad.tolist() == [-2.0, 0.0]
    dictionary.zero_grad()
    losses["mse"].backward()
    # d mse / d code = 2 (1.1 - 1) = 0.2; times -threshold / bandwidth = -2: -0.4.
    assert dictionary.threshold.grad[0] == pytest.approx(-0.4, abs=1e-5)


def test_what_lies_near_below_its_threshold_moves_the_threshold_too() -> None:
    dictionary = JumpReluDictionary(1, 2, l0_coefficient=1.0, bandwidth=0.5, initial_threshold=1.0)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.ones(1, 2))
        dictionary.b_enc.copy_(torch.tensor([-0.1, -0.9]))
        dictionary.W_dec.copy_(torch.tensor([[1.0], [1.0]]))
    # Pre-activations 0.9 and 0.1: none is active, the first lies within 0.25 of its threshold.
    losses, uses = dictionary.losses(torch.tensor([[1.0]]))
    assert losses["l0"].item() == 0.0 and losses["mse"].item() == 1.0 and not uses.any()
    (losses["l0"] + losses["mse"]).backward()
    # L0: -1 / 0.5 = -2. Error: -(1 / 0.5) * threshold * d mse / d code = -2 * 1 * 2 (0 - 1) = 4.
    assert dictionary.threshold.grad is not None and dictionary.threshold.grad.tolist() == pytest.approx([2.0, 0.0])
    assert dictionary.b_enc.grad is not None and dictionary.b_enc.grad.tolist() == [0.0, 0.0]


def test_thresholds_stay_positive() -> None:
    dictionary = JumpReluDictionary(1, 2, initial_threshold=-0.5)
    dictionary.after_step()
    assert dictionary.threshold.tolist() == [0.0, 0.0]
