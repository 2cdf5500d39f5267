"""Batch top-k: by hand."""

import pytest
import torch

from segcompass.sae.batchtopk import BatchTopKDictionary


def by_hand() -> BatchTopKDictionary:
    dictionary = BatchTopKDictionary(2, 3, 1)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
        dictionary.b_enc.zero_()
        dictionary.W_dec.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    return dictionary


def test_it_gives_tokens_what_they_need() -> None:
    dictionary = by_hand()
    # Pre-activations (1, 2, 3) and (0.1, 0.2, 0.3); k * T = 2 largest are 3 and 2, both of the first token, so the least is 2.
    losses, uses = dictionary.losses(torch.tensor([[1.0, 0.0], [0.1, 0.0]]))
    # Reconstructions (2, 3) and (0, 0): errors 1 + 9 and 0.01.
    assert float(dictionary.least_active) == pytest.approx(2.0) and losses["mse"].item() == pytest.approx((10 + 0.01) / 2)
    assert uses.tolist() == [0, 1, 1]
    assert dictionary.encode(torch.tensor([[1.0, 0.0]])).tolist() == [[0.0, 0.0, 3.0]], "alone, a token is cut at the running threshold"


def test_candidates_below_the_running_threshold_are_found_when_the_batch_needs_them() -> None:
    dictionary = by_hand()
    dictionary.least_active.fill_(100.0)
    losses, _ = dictionary.losses(torch.tensor([[1.0, 0.0], [0.1, 0.0]]))
    assert losses["mse"].item() == pytest.approx((10 + 0.01) / 2)
    assert float(dictionary.least_active) == pytest.approx(0.99 * 100 + 0.01 * 2)


def test_fewer_positive_values_than_k() -> None:
    losses, uses = by_hand().losses(torch.tensor([[-1.0, 0.0], [-2.0, 0.0]]))
    assert losses["mse"].item() == pytest.approx((1 + 4) / 2) and not uses.any()
