"""Top-k: by hand, its selection against a full sort, its gradients against plain autograd, its auxiliary loss."""

import pytest
import torch

from segcompass.sae.dictionary import squared_error
from segcompass.sae.selection import largest
from segcompass.sae.topk import TopKDictionary
from tests.arithmetic import same_sums

pytestmark = pytest.mark.numerical


def by_hand() -> TopKDictionary:
    dictionary = TopKDictionary(2, 3, 2, 0.5, 10)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
        dictionary.b_enc.zero_()
        dictionary.W_dec.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    return dictionary


def test_it_keeps_k_and_only_positive() -> None:
    dictionary = by_hand()
    assert dictionary.encode(torch.tensor([[1.0, 0.0]])).tolist() == [[0.0, 2.0, 3.0]]
    assert (dictionary.encode(torch.tensor([[-1.0, 0.0]])) == 0).all()
    losses, uses = dictionary.losses(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    # Token 1: reconstruction 2 * (1, 0) + 3 * (0, 1) = (2, 3), error 1 + 9; token 2: codes 0, error 1.
    assert losses["mse"].item() == pytest.approx((10 + 1) / 2) and uses.tolist() == [0, 1, 1]
    assert losses["auxiliary"].item() == 0.0, "nothing has been silent for long"


def test_dead_concepts_explain_the_residual() -> None:
    dictionary = by_hand()
    dictionary.count_silent(torch.tensor([0, 3, 1]), 11)
    assert dictionary.silent_for.tolist() == [11, 0, 0]
    losses, _ = dictionary.losses(torch.tensor([[1.0, 0.0]]))
    # Residual (1, 0) - (2, 3) = (-1, -3); concept 1 has pre-activation 1 and row (0, 1): error (-1)^2 + (-3 - 1)^2 = 17, halved.
    assert losses["auxiliary"].item() == pytest.approx(8.5)
    losses["auxiliary"].backward()
    assert dictionary.W_dec.grad is not None and dictionary.W_dec.grad[1:].abs().sum() == 0, "living concepts stay out of it"
    assert dictionary.W_dec.grad[0].tolist() == pytest.approx([0.5 * 2 * 1, 0.5 * 2 * 4])


@pytest.mark.parametrize(("features", "k"), [(64, 3), (96, 5), (50, 7), (64, 40)])
def test_the_selection_is_that_of_a_full_sort(features: int, k: int) -> None:
    before = torch.randn(33, features, generator=torch.Generator().manual_seed(features))
    before[0] = 0.0  # all equal
    places = largest(before, k)
    assert (places // features).tolist() == torch.arange(33).repeat_interleave(k).tolist() and len(set(places.tolist())) == 33 * k
    assert torch.equal(before.take(places).view(33, k).sort(1).values, before.topk(k).values.sort(1).values)


def test_gradients_are_those_of_dense_products() -> None:
    torch.manual_seed(0)
    dictionary, x = TopKDictionary(16, 64, 4), torch.randn(1100, 16)
    losses, _ = dictionary.losses(x)
    losses["mse"].backward()
    found = {name: value.grad for name, value in dictionary.named_parameters()}
    dictionary.zero_grad()
    dense = squared_error(x, dictionary.decode(dictionary.encode(x)))
    dense.backward()
    assert losses["mse"].item() == pytest.approx(dense.item(), rel=1e-6)
    assert all(same_sums(found[name], value.grad, terms=len(x)) for name, value in dictionary.named_parameters())
