"""Edits of codes by hand: what they take away, what baselines put in its place, and that a second reading of edited codes says the same."""

import torch
from torch import Tensor

from segcompass.backbone.token_types import INSTRUCTION, OTHER, THOUGHT, VISUAL
from segcompass.causal.edits import UNREAD, Edit, Mean, MeanCodes, Resample, aligned, codes_of_samples, kinds_of
from segcompass.causal.units import ConceptUnits
from segcompass.joint.reading import Reading, Shown
from segcompass.joint.tokens import ConceptTokens
from segcompass.sae.sparse_tokens import SparseTokens
from tests.arithmetic import same_sums

FEATURES, WIDTH = 12, 5
TYPES = torch.tensor([[OTHER, VISUAL, VISUAL, INSTRUCTION, THOUGHT, THOUGHT]], dtype=torch.uint8)


def some_codes(seed: int = 0) -> Tensor:
    """[1, T, F], a third of them active, of either sign; none on padding."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(1, TYPES.shape[1], FEATURES, generator=generator)
    return codes * (torch.rand(codes.shape, generator=generator) < 0.33) * (TYPES != OTHER)[..., None]


def tokens_of(threshold: float) -> ConceptTokens:
    torch.manual_seed(0)
    return ConceptTokens(FEATURES, WIDTH, threshold).requires_grad_(False)


def reading(codes: Tensor) -> Reading:
    return Reading(codes, TYPES, TYPES.long(), torch.zeros(1, 1, 1))


def units(codes: Tensor, threshold: float = 0.0) -> ConceptUnits:
    tokens = tokens_of(threshold)
    samples = codes_of_samples(SparseTokens.of(codes[0]), TYPES, threshold)
    made, read, thought = tokens(reading(codes))
    return ConceptUnits(tokens.rows, samples, [0], Shown(made, read, thought, torch.zeros(1, 1, 1)))


def same(one: Tensor, other: Tensor) -> bool:
    return same_sums(one, other, terms=FEATURES, layers=2)


def test_codes_of_a_sample_are_those_of_its_tokens() -> None:
    codes = some_codes()
    codes[0, 0] = 1.0  # on padding, where nothing is read
    (own,) = codes_of_samples(SparseTokens.of(codes[0]), TYPES, 0.5)
    kept = codes[0] * (codes[0].abs() >= 0.5)
    kept[0] = 0.0
    assert own.concepts.tolist() == kept.any(0).nonzero()[:, 0].tolist()
    assert torch.equal(own.codes, kept[:, own.concepts])
    assert torch.equal(own.at(torch.arange(FEATURES)), kept)
    assert own.kinds.tolist() == [UNREAD, 0, 0, 1, 2, 2]


def test_edits_are_a_second_reading_of_edited_codes() -> None:
    """Removed, kept, scaled and edited by token type: the tokens that the interface makes of codes that were edited themselves."""
    for threshold in (0.0, 0.6):
        codes = some_codes()
        edited = units(codes, threshold)
        own, read = edited.samples[0], tokens_of(threshold)
        chosen = torch.tensor([0, 2, 3])
        concepts = own.concepts[chosen]
        without = codes.clone()
        without[..., concepts] = 0.0
        assert same(edited.removed([Edit.whole(chosen)]).tokens, read(reading(without))[0])
        assert same(edited.kept([Edit.whole(chosen)]).tokens, read(reading(codes - without))[0])
        share = torch.zeros(4, 3)
        share[2] = 1.0  # on the thought alone
        thought = codes.clone()
        thought[0, 4:, concepts] = 0.0
        assert same(edited.removed([Edit(chosen, share)]).tokens, read(reading(thought))[0])
    scaled = codes.clone()
    scaled[..., concepts] *= 3.0
    assert same(
        units(codes).removed([Edit.scaled(units(codes).samples[0].concepts.new_tensor(places(codes, concepts)), 3.0)]).tokens,
        tokens_of(0.0)(reading(scaled))[0],
    )


def places(codes: Tensor, concepts: Tensor) -> list[int]:
    own = units(codes).samples[0]
    return [own.concepts.tolist().index(concept) for concept in concepts.tolist()]


def test_an_edit_of_nothing_changes_no_bit() -> None:
    edited = units(some_codes())
    everything = torch.arange(edited.counts[0])
    for nothing in (Edit.whole([]), Edit(everything, torch.zeros(len(everything))), Edit.scaled(everything, 1.0)):
        assert torch.equal(edited.removed([nothing]).tokens, edited.whole.tokens)
    assert torch.equal(edited.kept([Edit.whole([])]).tokens, torch.zeros_like(edited.whole.tokens))


def test_means_are_over_all_tokens_of_a_type() -> None:
    """Two visual tokens with codes 1 and 0 of one concept: one half; two samples of two thought tokens with 4, 0, 0, 0: one."""
    codes = torch.zeros(2, 6, FEATURES)
    codes[0, 1, 3], codes[0, 4, 5] = 1.0, 4.0
    codes[1, 1:3, 3] = 0.5
    means = MeanCodes(FEATURES)
    means.add(codes_of_samples(SparseTokens.of(codes.flatten(0, 1)), TYPES.expand(2, -1), 0.0))
    expected = torch.zeros(4, FEATURES)
    expected[VISUAL, 3], expected[THOUGHT, 5] = 0.5, 1.0
    assert torch.equal(means.means(), expected)


def test_a_baseline_replaces_codes_whether_active_or_not() -> None:
    codes, other = some_codes(), some_codes(seed=1)
    edited, read = units(codes), tokens_of(0.0)
    own = edited.samples
    donors = codes_of_samples(SparseTokens.of(other[0]), TYPES, 0.0)
    means = torch.rand(4, FEATURES) * torch.tensor([1.0, 1.0, 1.0, 0.0])[:, None]
    at_mean = means[kinds_of(TYPES[0])][None]
    chosen = torch.tensor([1, 2])
    concepts = own[0].concepts[chosen]
    for baseline, given in ((Mean(means, edited.rows, own), at_mean), (Resample(donors, edited.rows, own), other)):
        replaced, rest = codes.clone(), given.clone()
        replaced[..., concepts], rest[..., concepts] = given[..., concepts], codes[..., concepts]
        assert same(edited.nothing(baseline), read(reading(given))[0])
        assert same(edited.removed([Edit.whole(chosen)], baseline).tokens, read(reading(replaced))[0])
        assert same(edited.kept([Edit.whole(chosen)], baseline).tokens, read(reading(rest))[0])


def test_tokens_of_a_donor_stand_in_by_type_and_in_order() -> None:
    """Three of a kind are filled by two of them and the first again; what the donor has not stays empty."""
    own, donor = torch.tensor([UNREAD, 0, 0, 0, 1, 2, 2]), torch.tensor([0, 0, 2, UNREAD, 2, 2])
    assert aligned(own, donor).tolist() == [-1, 0, 1, 0, -1, 2, 4]


def test_norms_are_those_of_the_codes_that_are_taken() -> None:
    codes = some_codes()
    edited = units(codes)
    chosen = torch.tensor([0, 1])
    taken = codes[0][:, edited.samples[0].concepts[chosen]]
    assert same(edited.norms([Edit.scaled(chosen, 3.0)]), 2 * taken.norm(dim=1)[None])
