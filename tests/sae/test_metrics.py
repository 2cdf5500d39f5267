"""Held-out metrics by hand, the same for one part and for many."""

import pytest
import torch

from segcompass.sae.metrics import held_out_metrics
from segcompass.sae.relu_l1 import ReluL1Dictionary


def test_by_hand_and_in_parts() -> None:
    dictionary = ReluL1Dictionary(2, 2)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.eye(2))
        dictionary.W_dec.copy_(torch.eye(2))
    x, types = torch.tensor([[3.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 0, 2], dtype=torch.uint8)
    # Codes (3, 0), (1, 0), (0, 0): only the third token is wrong, by 1. Deviations from the mean (1, 0): 4 + 0 + 4.
    parts = [{"hidden": x, "token_type": types}], [{"hidden": x[i : i + 1], "token_type": types[i : i + 1]} for i in range(3)]
    for given in parts:
        found = held_out_metrics(dictionary, given)
        assert found["all"] == pytest.approx(
            {"tokens": 3, "explained_variance": 1 - 1 / 8, "mse": 1 / 3, "l0": 2 / 3, "dead_fraction": 0.5}
        )
        assert found["visual"]["explained_variance"] == pytest.approx(1.0) and found["thought"]["tokens"] == 1
        assert "instruction" not in found, "no such token"
