"""Hidden units as concepts, by hand, and as a checkpoint."""

from pathlib import Path

import pytest
import torch

from segcompass.sae.checkpoint import load_dictionary, save_dictionary
from segcompass.sae.neurons import NeuronDictionary

X = torch.tensor([[1.0, 7.0, 3.0], [4.0, 5.0, 2.0]])
CENTRE = torch.tensor([2.0, 5.0, 2.0])


def by_hand(k: int) -> NeuronDictionary:
    dictionary = NeuronDictionary(3, k)
    dictionary.start_at(X, CENTRE)
    return dictionary


def test_the_largest_deviations_are_kept_with_their_sign() -> None:
    # Deviations (-1, 2, 1) and (2, 0, 0); of equal ones, and of zeros, either may be kept.
    assert by_hand(1).encode(X).tolist() == [[0.0, 2.0, 0.0], [2.0, 0.0, 0.0]]
    assert by_hand(3).encode(X).tolist() == [[-1.0, 2.0, 1.0], [2.0, 0.0, 0.0]]
    negative = by_hand(1).encode(torch.tensor([[-3.0, 5.0, 6.0]]))
    assert negative.tolist() == [[-5.0, 0.0, 0.0]]


def test_a_unit_that_is_not_kept_stays_at_its_mean() -> None:
    dictionary = by_hand(1)
    assert dictionary.decode(dictionary.encode(X)).tolist() == [[2.0, 7.0, 2.0], [4.0, 5.0, 2.0]]
    # Errors: 1 + 0 + 1 for the first token, 0 for the second.
    losses, uses = dictionary.losses(X)
    assert losses["mse"].item() == pytest.approx(1.0) and uses.tolist() == [1, 1, 0]


def test_it_round_trips(tmp_path: Path) -> None:
    dictionary = by_hand(2)
    dictionary.hook_layer = 2
    save_dictionary(dictionary, tmp_path)
    loaded = load_dictionary(tmp_path)
    assert loaded.architecture == "neurons" and loaded.features == 3 and torch.equal(loaded.encode(X), dictionary.encode(X))
