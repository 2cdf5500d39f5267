"""The untrained control: as many active concepts as a trained dictionary has, and a decoder no worse than it needs to be."""

import pytest
import torch

from segcompass.sae.untrained import UntrainedDictionary


def test_thresholds_by_hand() -> None:
    dictionary = UntrainedDictionary(2, 2)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.eye(2))
        dictionary.W_dec.copy_(torch.eye(2))
    x = torch.tensor([[4.0, 0.0], [0.0, 4.0], [-4.0, 0.0], [0.0, -4.0]])
    dictionary.match_sparsity(x, 0.5)
    # The mean is 0. Each concept may be active on a quarter of the tokens: its 0.75 quantile of (4, 0, -4, 0) is 0 + 0.25 * 4 = 1.
    assert dictionary.threshold.tolist() == [1.0, 1.0]
    assert dictionary.encode(x).tolist() == [[4.0, 0.0], [0.0, 4.0], [0.0, 0.0], [0.0, 0.0]]
    assert torch.allclose(dictionary.W_dec, torch.eye(2)), "the best scale is 1: active tokens are already reconstructed exactly"


def test_it_matches_the_sparsity() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 16)
    control = UntrainedDictionary(16, 64)
    control.match_sparsity(x, 6.0)
    assert float((control.encode(x) != 0).float().sum(1).mean()) == pytest.approx(6.0, rel=0.15)
