"""ReLU with L1: by hand, and its sparse products against plain autograd."""

import pytest
import torch

from segcompass.sae import relu_l1
from segcompass.sae.dictionary import squared_error
from segcompass.sae.relu_l1 import ReluL1Dictionary


def by_hand() -> ReluL1Dictionary:
    dictionary = ReluL1Dictionary(2, 3, 0.5)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]))
        dictionary.b_enc.copy_(torch.tensor([0.0, -1.0, 0.0]))
        dictionary.W_dec.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.6, 0.8]]))
    return dictionary


@pytest.mark.parametrize("dense_above", [0.0, 1.0], ids=["dense products", "sparse products"])
def test_objective_and_gradients_by_hand(dense_above: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relu_l1, "DENSE_ABOVE", dense_above)
    dictionary = by_hand()
    x = torch.tensor([[2.0, 3.0]])
    # Codes relu(2, 3 - 1, -2) = (2, 2, 0); reconstruction (2, 4); error (3 - 4)^2 = 1; L1 weighted by row norms 0.5 * (2 * 1 + 2 * 2) = 3.
    assert dictionary.encode(x).tolist() == [[2.0, 2.0, 0.0]]
    losses, uses = dictionary.losses(x)
    assert losses["mse"].item() == pytest.approx(1.0) and losses["l1"].item() == pytest.approx(3.0)
    assert uses.tolist() == [1, 1, 0]
    torch.stack(list(losses.values())).sum().backward()
    # d mse / d reconstruction = 2 (reconstruction - x) = (0, 2); code 1 gets 0 + 0.5 * 1, code 2 gets 2 * 2 + 0.5 * 2.
    assert dictionary.b_enc.grad is not None and dictionary.b_enc.grad.tolist() == pytest.approx([0.5, 5.0, 0.0])
    assert dictionary.W_enc_T.grad is not None
    assert torch.allclose(dictionary.W_enc_T.grad, torch.tensor([[1.0, 1.5], [10.0, 15.0], [0.0, 0.0]]))
    # Row 1: code 2 * (0, 2) + 0.5 * code * row / norm = (0, 4) + (1, 0); row 2: 2 * (0, 2) + (0, 1).
    assert dictionary.W_dec.grad is not None
    assert torch.allclose(dictionary.W_dec.grad, torch.tensor([[1.0, 4.0], [0.0, 5.0], [0.0, 0.0]]))
    assert dictionary.b_dec.grad is not None and dictionary.b_dec.grad.tolist() == [0.0, 2.0]


def test_squared_error_is_summed_over_width_and_averaged_over_tokens() -> None:
    assert squared_error(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2, 2)) == pytest.approx(2.5)
