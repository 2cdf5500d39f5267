"""The concept interface: gather equals the dense product, padding is invisible, cuts cut."""

import torch

from segcompass.joint.codebook import QueryCodebook
from segcompass.joint.mapper import SlotMapper


def codes(tokens: int, features: int, active: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(2, tokens, features, generator=generator)
    threshold = values.topk(active, -1).values[..., -1:]
    return values * (values >= threshold)


def book(threshold: float = 0.0) -> QueryCodebook:
    torch.manual_seed(0)
    return QueryCodebook(64, 16, 2, 1, 3, threshold)


def test_gather_equals_the_dense_product_with_gradients() -> None:
    codebook, sparse = book(0.5), codes(5, 64, 4)
    dense = (sparse * (sparse >= 0.5)) @ codebook.rows
    gathered = codebook.embed(sparse)
    assert torch.allclose(gathered, dense, atol=1e-6)
    weights = torch.randn_like(dense)
    (a,) = torch.autograd.grad((gathered * weights).sum(), codebook.rows)
    (b,) = torch.autograd.grad((dense * weights).sum(), codebook.rows)
    assert torch.allclose(a, b, atol=1e-5)


def test_dense_and_differentiated_codes_take_the_dense_road_to_the_same_slots() -> None:
    codebook, sparse = book(), codes(5, 64, 4)
    mask = torch.ones(2, 5, dtype=torch.bool)
    assert torch.allclose(codebook(sparse, mask), codebook(sparse.clone().requires_grad_(True), mask), atol=1e-5)


def test_a_threshold_zeroes_weak_codes() -> None:
    codebook = book(0.9)
    weak = torch.full((1, 1, 64), 0.5)
    assert codebook.embed(weak).abs().max() == 0


def test_padding_tokens_do_not_reach_the_slots() -> None:
    codebook, sparse = book(), codes(6, 64, 4)
    mask = torch.tensor([[True] * 4 + [False] * 2] * 2)
    changed = sparse.clone()
    changed[:, 4:] = codes(2, 64, 4, seed=1)
    assert torch.equal(codebook(sparse, mask), codebook(changed, mask))


def test_shapes_and_the_cut_of_the_reference_state() -> None:
    torch.manual_seed(0)
    slots, embeddings = torch.randn(2, 3, 16), torch.randn(2, 8, 4, 4)
    one, other = torch.randn(2, 3, 24), torch.randn(2, 3, 24)
    fed, cut = SlotMapper(16, 24, 8, 2, 3, True), SlotMapper(16, 24, 8, 2, 3, False)
    heat, confidence = fed(slots, one, embeddings)
    assert heat.shape == (2, 3, 16, 16) and confidence.shape == (2, 3)
    assert not torch.allclose(heat, fed(slots, other, embeddings)[0])
    assert torch.equal(cut(slots, one, embeddings)[0], cut(slots, other, embeddings)[0]), "no road around the concepts"
    assert not torch.equal(cut(slots, one, embeddings)[0], cut(slots + 1, one, embeddings)[0])
