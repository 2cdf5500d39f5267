"""Principal components: by hand, streamed as in one piece, against numpy, and as a checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segcompass.sae.checkpoint import load_dictionary, save_dictionary
from segcompass.sae.pca import PcaDictionary, moments


def test_by_hand() -> None:
    # Mean (10, 20); deviations (3, 3), (-3, -3), (1, -1), (-1, 1): variance 36 / 4 along (1, 1) / sqrt(2), 4 / 4 along (1, -1) / sqrt(2).
    x = torch.tensor([[13.0, 23.0], [7.0, 17.0], [11.0, 19.0], [9.0, 21.0]])
    dictionary = PcaDictionary(2, 1)
    dictionary.fit([x])
    root = 2**0.5
    assert torch.allclose(dictionary.W_dec, torch.tensor([[1 / root, 1 / root]])) and torch.equal(dictionary.W_enc, dictionary.W_dec.T)
    codes = dictionary.encode(x)
    assert torch.allclose(codes, torch.tensor([[3 * root], [-3 * root], [0.0], [0.0]]), atol=1e-5), "codes of either sign"
    assert torch.allclose(dictionary.decode(codes), torch.tensor([[13.0, 23.0], [7.0, 17.0], [10.0, 20.0], [10.0, 20.0]]), atol=1e-5)


def test_all_components_lose_nothing() -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) + 3
    dictionary = PcaDictionary(6, 6)
    dictionary.fit([x])
    assert torch.allclose(dictionary.decode(dictionary.encode(x)), x, atol=1e-5)
    assert torch.allclose(dictionary.W_dec @ dictionary.W_dec.T, torch.eye(6), atol=1e-6)
    variances = dictionary.encode(x).var(0)
    assert (variances.diff() <= 0).all(), "by falling variance"
    largest = dictionary.W_dec.gather(1, dictionary.W_dec.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()


@pytest.mark.parametrize("sizes", [[100], [1, 99], [0, 40, 0, 7, 53]])
def test_moments_are_streamed_and_lose_no_digits_far_from_zero(sizes: list[int]) -> None:
    x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0)).double() + 1e6
    mean, covariance = moments(x.split(sizes))
    assert np.allclose(mean.numpy(), x.numpy().mean(0), rtol=1e-14)
    assert np.allclose(covariance.numpy(), np.cov(x.numpy().T, bias=True), atol=1e-8)


def test_no_token_is_an_error() -> None:
    with pytest.raises(ValueError, match="no token"):
        moments([torch.zeros(0, 3)])


def test_it_round_trips(tmp_path: Path) -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    dictionary = PcaDictionary(6, 4)
    dictionary.fit([x])
    dictionary.hook_layer = 2
    save_dictionary(dictionary, tmp_path)
    loaded = load_dictionary(tmp_path)
    assert loaded.architecture == "pca" and loaded.hook_layer == 2 and torch.equal(loaded.encode(x), dictionary.encode(x))
