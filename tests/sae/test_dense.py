"""The dense control: by hand, with the parameters of a sparse dictionary of its width."""

import pytest
import torch

from segcompass.sae.dense import DenseDictionary
from segcompass.sae.topk import TopKDictionary


def test_by_hand() -> None:
    dictionary = DenseDictionary(2, 2)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
        dictionary.W_dec.copy_(torch.tensor([[0.0, 2.0], [3.0, 0.0]]))
    x = torch.tensor([[1.0, 2.0]])
    # Codes (1, -2); reconstruction (0, 2) + (-6, 0) = (-6, 2); error 49 + 0.
    assert dictionary.encode(x).tolist() == [[1.0, -2.0]]
    losses, uses = dictionary.losses(x)
    assert losses["mse"].item() == pytest.approx(49.0) and uses.tolist() == [1, 1]
    before = dictionary.W_dec.detach().clone()
    dictionary.after_step()
    assert torch.equal(dictionary.W_dec, before), "norms of its rows carry information"


def test_it_has_the_parameters_of_a_sparse_dictionary() -> None:
    sizes = [sum(value.numel() for value in made.parameters()) for made in (DenseDictionary(8, 24), TopKDictionary(8, 24, 3))]
    assert sizes[0] == sizes[1] == 2 * 8 * 24 + 24 + 8
