"""The concept interface: gather equals the dense product, padding is invisible, cuts cut."""

import torch

from segcompass.joint.codebook import PooledCodebook, QueryCodebook
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
    fed, cut = SlotMapper(16, 24, 8, 2, 3, True, True, True), SlotMapper(16, 24, 8, 2, 3, True, False, True)
    heat, confidence = fed(slots, one, embeddings)
    assert heat.shape == (2, 3, 16, 16) and confidence.shape == (2, 3)
    assert not torch.allclose(heat, fed(slots, other, embeddings)[0])
    assert torch.equal(cut(slots, one, embeddings)[0], cut(slots, other, embeddings)[0]), "no road around the concepts"
    assert not torch.equal(cut(slots, one, embeddings)[0], cut(slots + 1, one, embeddings)[0])


def test_the_cut_of_the_slots_leaves_the_reference_states_alone() -> None:
    torch.manual_seed(0)
    cut = SlotMapper(16, 24, 8, 2, 3, False, True, True)
    states, embeddings = torch.randn(2, 3, 24), torch.randn(2, 8, 4, 4)
    assert torch.equal(cut(torch.randn(2, 3, 16), states, embeddings)[0], cut(None, states, embeddings)[0])
    assert not torch.equal(cut(None, states, embeddings)[0], cut(None, states + torch.randn(2, 3, 24), embeddings)[0])


def test_without_fusion_a_heat_map_is_the_sum_of_the_dot_products() -> None:
    torch.manual_seed(0)
    plain = SlotMapper(16, 24, 8, 2, 3, True, True, False)
    slots, states, embeddings = torch.randn(1, 3, 16), torch.randn(1, 3, 24), torch.randn(1, 8, 4, 4)
    fused = plain.fuse(torch.cat([plain.slot(slots), states], -1))
    expected = torch.einsum("nkc,ncyx->nkyx", fused, plain.image(embeddings)) / plain.head_width**0.5
    # The middle of bilinear upsampling by 4 keeps the mean of the map.
    heat = plain(slots, states, embeddings)[0]
    assert torch.allclose(heat.mean((2, 3)), expected.mean((2, 3)), atol=1e-5)


def test_the_pooled_codebook_has_as_many_parameters_and_sees_no_padding() -> None:
    torch.manual_seed(0)
    pooled, queries = PooledCodebook(64, 64, 4, 2, 3, 0.0), QueryCodebook(64, 64, 4, 2, 3, 0.0)
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in (pooled, queries)]
    assert abs(counts[0] - counts[1]) < 0.03 * counts[1]
    sparse, mask = codes(6, 64, 4), torch.tensor([[True] * 4 + [False] * 2] * 2)
    changed = sparse.clone()
    changed[:, 4:] = codes(2, 64, 4, seed=1)
    assert pooled(sparse, mask).shape == (2, 3, 64)
    assert torch.equal(pooled(sparse, mask), pooled(changed, mask))
