"""What slots are made from: concepts of all tokens, words of the thought, or reference states, each without the others."""

from dataclasses import replace

import pytest
import torch

from segcompass.backbone.token_types import INSTRUCTION, OTHER, THOUGHT, VISUAL
from segcompass.joint.reading import Reading
from segcompass.joint.tokens import ConceptTokens, ReferenceTokens, WordTokens, direction_rows
from segcompass.optimisation.muon import Muon
from segcompass.sae.sparse_tokens import SparseTokens
from tests.arithmetic import same_sums
from tests.tiny import micro_study, tiny_joint

pytestmark = pytest.mark.numerical

TYPES = torch.tensor([[OTHER, VISUAL, INSTRUCTION, THOUGHT, THOUGHT, OTHER], [VISUAL, VISUAL, THOUGHT, THOUGHT, THOUGHT, OTHER]])


def codes(features: int = 64, active: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(*TYPES.shape, features, generator=generator)
    return values * (values >= values.topk(active, -1).values[..., -1:])


def reading(seed: int = 0) -> Reading:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 50, TYPES.shape, generator=generator)
    return Reading(codes(seed=seed), TYPES.to(torch.uint8), ids, torch.randn(2, 3, 24, generator=generator))


def concepts(threshold: float = 0.0) -> ConceptTokens:
    torch.manual_seed(0)
    return ConceptTokens(64, 16, threshold)


def test_gather_equals_the_dense_product_with_gradients() -> None:
    own, sparse = concepts(0.5), codes()
    dense = (sparse * (sparse >= 0.5)) @ own.rows
    weights = torch.randn_like(dense)
    (expected,) = torch.autograd.grad((dense * weights).sum(), own.rows, retain_graph=True)
    for given in (sparse, SparseTokens.of(sparse.flatten(0, 1))):
        gathered = own.embed(given).view_as(dense)
        assert same_sums(gathered, dense, terms=4)
        (gradient,) = torch.autograd.grad((gathered * weights).sum(), own.rows)
        assert same_sums(gradient, expected, terms=10)


def test_dense_and_differentiated_codes_take_the_dense_road_to_the_same_tokens() -> None:
    own, sparse = concepts(), codes()
    differentiated = sparse.clone().requires_grad_(True)
    found = own.embed(differentiated)
    assert same_sums(found, own.embed(sparse), terms=4)
    (gradient,) = torch.autograd.grad(found.sum(), differentiated)
    assert same_sums(gradient, own.rows.sum(1) * (sparse != 0), terms=16), "a concept below the threshold has no gradient"
    crowded = torch.rand(2, 6, 64)
    assert same_sums(own.embed(crowded), crowded @ own.rows, terms=64)


def test_a_threshold_zeroes_weak_codes_of_either_sign() -> None:
    own = concepts(0.9)
    weak = torch.zeros(1, 1, 64)
    weak[..., 3], weak[..., 5], weak[..., 7] = 0.5, -0.89, -0.95
    for given in (weak, SparseTokens.of(weak[0]), weak.clone().requires_grad_(True)):
        assert same_sums(own.embed(given).flatten(), -0.95 * own.rows[7], terms=1)


def test_concepts_show_every_token_that_has_a_type() -> None:
    tokens, read, thought = concepts()(reading())
    assert tokens.shape == (2, 6, 16) and torch.equal(read, TYPES != OTHER) and torch.equal(thought, TYPES == THOUGHT)
    sparse = replace(reading(), codes=SparseTokens.of(codes().flatten(0, 1)))
    assert same_sums(concepts()(sparse)[0], tokens, terms=4)


def test_without_a_thought_its_tokens_are_as_if_they_were_not_there() -> None:
    cut = reading().without_thought()
    assert not cut.thought.any() and torch.equal(cut.read, (TYPES != OTHER) & (TYPES != THOUGHT))
    assert torch.equal(reading().token_types, TYPES.to(torch.uint8)), "what is cut is a copy"


def test_words_are_those_of_the_thought_in_their_order_and_nothing_else() -> None:
    torch.manual_seed(0)
    own, shown = WordTokens(50, 16, 4), reading()
    tokens, read, thought = own(shown)
    assert torch.equal(read, TYPES == THOUGHT) and torch.equal(thought, read)
    for sequence, places in ((0, [3, 4]), (1, [2, 3, 4])):
        for order, place in enumerate(places):
            expected = own.words.weight[shown.ids[sequence, place]] + own.places.weight[order]
            assert torch.equal(tokens[sequence, place], expected), "the n-th word of the thought is at place n, wherever it stands"
    others = reading(seed=1)
    ids = torch.where(read, shown.ids, others.ids)
    again = own(replace(others, ids=ids))[0]
    assert torch.equal(again[read], tokens[read]), "codes, states and words outside the thought say nothing"


def test_a_thought_longer_than_the_places_keeps_the_last_one() -> None:
    torch.manual_seed(0)
    own, shown = WordTokens(50, 16, 2), reading()
    tokens, _, _ = own(shown)
    expected = own.words.weight[shown.ids[1, 2:5]] + own.places.weight[torch.tensor([0, 1, 1])]
    assert torch.equal(tokens[1, 2:5], expected)


@pytest.mark.parametrize(("features", "language", "width"), [(1024, 128, 128), (256, 128, 128), (4096, 128, 128), (64, 24, 16)])
def test_reference_tokens_have_as_many_parameters_as_the_codebook_has_rows(features: int, language: int, width: int) -> None:
    own, rows = ReferenceTokens(features, language, width), ConceptTokens(features, width, 0.0)
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in (own, rows)]
    # One hidden unit more or less is language + width + 1 parameters, which no width can undercut.
    allowed = 0.01 * counts[1] if features >= 1024 else (language + width + 1) / 2
    assert abs(counts[0] - counts[1]) <= allowed


def test_reference_tokens_read_the_reference_states_alone() -> None:
    torch.manual_seed(0)
    own, shown = ReferenceTokens(64, 24, 16), reading()
    tokens, read, thought = own(shown)
    assert tokens.shape == (2, 3, 16) and read.all() and thought.all() and read.shape == (2, 3)
    other = reading(seed=1)
    assert torch.equal(own(replace(other, reference_states=shown.reference_states))[0], tokens)
    assert not torch.allclose(own(other)[0], tokens)
    alone = own(replace(shown, reference_states=shown.reference_states[:, 1:2]))[0]
    assert same_sums(alone[:, 0], tokens[:, 1], terms=24, layers=2), "each by itself"


def test_rows_from_directions_keep_their_angles() -> None:
    directions = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(directions, dim=1)
    for width in (8, 24):
        rows = direction_rows(directions, width)
        assert rows.shape == (50, width)
        assert rows.norm(dim=1).mean() == pytest.approx(width**0.5 / 50**0.25, rel=1e-4), "as long as random rows"
        shown = torch.nn.functional.normalize(rows, dim=1)
        assert same_sums(shown @ shown.T, unit @ unit.T, terms=width, layers=2)


@pytest.mark.parametrize(("readout", "hidden"), [("concepts", set()), ("words", set()), ("references", {"perceptron.0", "perceptron.2"})])
def test_tables_of_tokens_are_no_maps_between_hidden_states(readout: str, hidden: set[str]) -> None:
    """Muon moves matrices that map hidden states, whatever the part they lie in is called; tables are moved row by row."""
    model = micro_study().interface.model.model_copy(update={"readout": readout, "reference_state": readout == "references"})
    named = [(name, value) for name, value in tiny_joint(model).interface.named_parameters() if name.startswith("codebook.tokens.")]
    orthogonal = [group["params"] for group in Muon(named, 1.0, 1.0, weight_decay=0.0).param_groups if group["orthogonal"]]
    moved = {name for name, value in named if any(value is other for group in orthogonal for other in group)}
    assert moved == {f"codebook.tokens.{name}.weight" for name in hidden}
