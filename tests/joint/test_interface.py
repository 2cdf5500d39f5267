"""The concept interface: gather equals the dense product, padding is invisible, cuts cut."""

import math

import pytest
import torch

from segcompass.joint.codebook import PROMPT_LOGIT, PooledCodebook, QueryCodebook, direction_rows, handicap
from segcompass.joint.mapper import SlotMapper
from segcompass.joint.whitening import SHRINKAGE, Whitening
from tests.arithmetic import same_sums

pytestmark = pytest.mark.numerical


def codes(tokens: int, features: int, active: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(2, tokens, features, generator=generator)
    threshold = values.topk(active, -1).values[..., -1:]
    return values * (values >= threshold)


THOUGHT = torch.tensor([[False, False, True, True, False, False]] * 2)


def book(threshold: float = 0.0) -> QueryCodebook:
    torch.manual_seed(0)
    return QueryCodebook(64, 16, 2, 1, 3, threshold)


def test_gather_equals_the_dense_product_with_gradients() -> None:
    codebook, sparse = book(0.5), codes(5, 64, 4)
    dense = (sparse * (sparse >= 0.5)) @ codebook.rows
    gathered = codebook.embed(sparse)
    assert same_sums(gathered, dense, terms=4)
    weights = torch.randn_like(dense)
    (a,) = torch.autograd.grad((gathered * weights).sum(), codebook.rows)
    (b,) = torch.autograd.grad((dense * weights).sum(), codebook.rows)
    assert same_sums(a, b, terms=10)


def test_dense_and_differentiated_codes_take_the_dense_road_to_the_same_slots() -> None:
    codebook, sparse = book(), codes(5, 64, 4)
    mask = torch.ones(2, 5, dtype=torch.bool)
    gathered, dense = (codebook(given, mask, THOUGHT[:, :5]) for given in (sparse, sparse.clone().requires_grad_(True)))
    assert same_sums(gathered, dense, terms=64)


def test_slots_are_those_of_the_whole_encoder() -> None:
    torch.manual_seed(0)
    codebook, sparse, mask = QueryCodebook(64, 16, 2, 2, 3, 0.0), codes(6, 64, 4), torch.ones(2, 6, dtype=torch.bool)
    tokens = torch.cat([codebook.queries.expand(2, -1, -1), codebook.embed(sparse)], 1)
    logits = torch.nn.functional.pad(handicap(mask, THOUGHT), (3, 0))
    whole = codebook.encoder(tokens, src_key_padding_mask=logits)[:, :3]
    assert same_sums(codebook(sparse, mask, THOUGHT), whole, terms=64, layers=2)


def test_tokens_of_the_prompt_have_a_handicap_only_where_there_is_a_thought() -> None:
    mask = torch.tensor([[False, True, True, True]] * 2)
    logits = handicap(mask, torch.tensor([[False, False, True, True], [False] * 4]))
    assert logits.tolist() == [[-math.inf, PROMPT_LOGIT, 0.0, 0.0], [-math.inf, 0.0, 0.0, 0.0]]


def test_whitened_features_are_centred_and_alike_in_every_direction_and_unchanged_before_the_fit() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4000, 4, generator=generator) * torch.tensor([9.0, 3.0, 3.0, 1.0]) @ torch.randn(4, 4, generator=generator) + 5.0
    whitening = Whitening(4)
    assert torch.equal(whitening(features), features)
    whitening.fit(features)
    assert whitening(features).mean(0).abs().max() < 1e-3
    before, after = (torch.linalg.eigvalsh(torch.cov(values.T)) for values in (features, whitening(features)))
    # A direction of variance v ends at v / (v + shrinkage * mean variance).
    assert same_sums(after, before / (before + SHRINKAGE * before.mean()), terms=len(features), layers=3)


def test_features_that_are_all_the_same_whiten_to_zero() -> None:
    whitening = Whitening(4)
    whitening.fit(torch.full((10, 4), 7.0))
    assert torch.equal(whitening(torch.full((2, 4), 7.0)), torch.zeros(2, 4))


def test_a_threshold_zeroes_weak_codes() -> None:
    codebook = book(0.9)
    weak = torch.full((1, 1, 64), 0.5)
    assert codebook.embed(weak).abs().max() == 0


def test_padding_tokens_do_not_reach_the_slots() -> None:
    codebook, sparse = book(), codes(6, 64, 4)
    mask = torch.tensor([[True] * 4 + [False] * 2] * 2)
    changed = sparse.clone()
    changed[:, 4:] = codes(2, 64, 4, seed=1)
    assert torch.equal(codebook(sparse, mask, THOUGHT), codebook(changed, mask, THOUGHT))


def test_shapes_and_the_cut_of_the_reference_state() -> None:
    torch.manual_seed(0)
    slots, embeddings = torch.randn(2, 3, 16), torch.randn(2, 8, 4, 4)
    one, other = torch.randn(2, 3, 24), torch.randn(2, 3, 24)
    fed, cut = SlotMapper(16, 24, 8, 2, 8, 3, True, True, True), SlotMapper(16, 24, 8, 2, 8, 3, True, False, True)
    heat, confidence = fed(slots, one, embeddings)
    assert heat.shape == (2, 3, 16, 16) and confidence.shape == (2, 3)
    assert not torch.allclose(heat, fed(slots, other, embeddings)[0])
    assert torch.equal(cut(slots, one, embeddings)[0], cut(slots, other, embeddings)[0]), "no road around the concepts"
    assert not torch.equal(cut(slots, one, embeddings)[0], cut(slots + 1, one, embeddings)[0])


def test_the_cut_of_the_slots_leaves_the_reference_states_alone() -> None:
    torch.manual_seed(0)
    cut = SlotMapper(16, 24, 8, 2, 8, 3, False, True, True)
    states, embeddings = torch.randn(2, 3, 24), torch.randn(2, 8, 4, 4)
    assert torch.equal(cut(torch.randn(2, 3, 16), states, embeddings)[0], cut(None, states, embeddings)[0])
    assert not torch.equal(cut(None, states, embeddings)[0], cut(None, states + torch.randn(2, 3, 24), embeddings)[0])


def test_without_fusion_a_heat_map_is_the_sum_of_the_dot_products() -> None:
    torch.manual_seed(0)
    plain = SlotMapper(16, 24, 8, 2, 8, 3, True, True, False)
    slots, states, embeddings = torch.randn(1, 3, 16), torch.randn(1, 3, 24), torch.randn(1, 8, 4, 4)
    fused = plain.fuse(torch.cat([plain.slot(slots), states], -1))
    expected = torch.einsum("nkc,ncyx->nkyx", fused, plain.image(embeddings)) / plain.head_width**0.5
    # The middle of bilinear upsampling by 4 keeps the mean of the map.
    heat = plain(slots, states, embeddings)[0]
    assert same_sums(heat.mean((2, 3)), expected.mean((2, 3)), terms=24, layers=2)


def test_the_pooled_codebook_has_as_many_parameters_and_sees_no_padding() -> None:
    torch.manual_seed(0)
    pooled, queries = PooledCodebook(64, 64, 4, 2, 3, 0.0), QueryCodebook(64, 64, 4, 2, 3, 0.0)
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in (pooled, queries)]
    assert abs(counts[0] - counts[1]) < 0.03 * counts[1]
    sparse, mask = codes(6, 64, 4), torch.tensor([[True] * 4 + [False] * 2] * 2)
    changed = sparse.clone()
    changed[:, 4:] = codes(2, 64, 4, seed=1)
    assert pooled(sparse, mask, THOUGHT).shape == (2, 3, 64)
    assert torch.equal(pooled(sparse, mask, THOUGHT), pooled(changed, mask, THOUGHT))


def test_rows_from_directions_keep_their_angles() -> None:
    directions = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(directions, dim=1)
    for width in (8, 24):
        rows = direction_rows(directions, width)
        assert rows.shape == (50, width)
        assert rows.norm(dim=1).mean() == pytest.approx(width**0.5 / 50**0.25, rel=1e-4), "as long as random rows"
        shown = torch.nn.functional.normalize(rows, dim=1)
        assert same_sums(shown @ shown.T, unit @ unit.T, terms=width, layers=2)
