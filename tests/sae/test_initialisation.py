"""Starting points by hand."""

import pytest
import torch

from segcompass.sae.initialisation import decoder_bias, mean_norm_scale

pytestmark = pytest.mark.numerical


def test_scale_makes_the_mean_norm_sqrt_d() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 15.0]])
    # Norms 5 and 15, mean 10; divided by 10 / sqrt(2).
    assert mean_norm_scale(x) == pytest.approx(10 / 2**0.5)
    assert float((x / mean_norm_scale(x)).norm(dim=1).mean()) == pytest.approx(2**0.5)


def test_one_huge_token_moves_the_mean_and_not_the_geometric_median() -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [100.0, 0.0]])
    assert decoder_bias(x, "mean").tolist() == [25.0, 0.0] and decoder_bias(x, "zero").tolist() == [0.0, 0.0]
    # Three of four points lie at the origin, so it is the point of least summed distance.
    assert decoder_bias(x, "geometric_median").abs().max() < 1e-3
