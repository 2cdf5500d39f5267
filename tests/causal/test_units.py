"""Units of words and of reference states: what an edit leaves, by hand, and what contributions say where tokens are linear in them."""

import torch

from segcompass.backbone.token_types import INSTRUCTION, OTHER, THOUGHT
from segcompass.causal.edits import Edit
from segcompass.causal.units import ReferenceUnits, WordUnits, principal_directions
from segcompass.joint.reading import Reading, Shown
from segcompass.joint.tokens import ReferenceTokens, WordTokens
from tests.arithmetic import same_sums

TYPES = torch.tensor([[OTHER, INSTRUCTION, THOUGHT, THOUGHT, THOUGHT], [OTHER, OTHER, INSTRUCTION, THOUGHT, THOUGHT]], dtype=torch.uint8)
IDS = torch.tensor([[0, 3, 4, 5, 4], [0, 0, 3, 6, 7]])


def words() -> tuple[WordTokens, WordUnits, torch.Tensor]:
    torch.manual_seed(0)
    tokens = WordTokens(10, 4, 6).requires_grad_(False)
    reading = Reading(torch.zeros(2, 5, 1), TYPES, IDS, torch.zeros(2, 1, 1))
    mean = torch.randn(4)
    return tokens, WordUnits(tokens, mean, reading, Shown(*tokens(reading), torch.zeros(2, 1, 1))), mean


def test_a_word_gives_way_to_the_mean_word_in_its_place() -> None:
    tokens, units, mean = words()
    assert units.counts == [3, 2]
    edited = units.removed([Edit.whole([1]), Edit.whole([])])
    expected = units.whole.tokens.clone()
    expected[0, 3] = mean + tokens.places.weight[1]
    assert same_sums(edited.tokens, expected, terms=4)
    assert torch.equal(edited.tokens[1], units.whole.tokens[1]) and torch.equal(edited.read, units.whole.read)


def test_contributions_of_words_are_what_removing_them_takes_from_a_linear_score() -> None:
    _, units, _ = words()
    weights = torch.randn(5, 4)
    found = units.contributions(weights.expand(2, -1, -1))
    for row, count in enumerate(units.counts):
        for unit in range(count):
            edits = [Edit.whole([unit]) if row == number else Edit.whole([]) for number in range(2)]
            fall = ((units.whole.tokens - units.removed(edits).tokens)[row] * weights).sum()
            assert same_sums(found[row][unit], fall, terms=20)
    leaf, shown = units.path(0.0)
    everything = units.removed([Edit.whole(range(count)) for count in units.counts])
    assert same_sums(shown.tokens, everything.tokens, terms=4) and leaf is shown.tokens and leaf.requires_grad


def references() -> tuple[ReferenceTokens, ReferenceUnits, torch.Tensor]:
    torch.manual_seed(0)
    tokens = ReferenceTokens(20, 6, 4).requires_grad_(False)
    states = torch.randn(30, 3, 6)
    mean, directions = principal_directions(states)
    own = states[:2]
    read = torch.ones(2, 3, dtype=torch.bool)
    return tokens, ReferenceUnits(tokens, mean, directions, Shown(tokens.perceptron(own), read, read, own)), mean


def test_directions_are_orthonormal_and_the_strongest_first() -> None:
    states = torch.randn(500, 2, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.2])
    mean, directions = principal_directions(states)
    assert mean.shape == (2, 3) and torch.allclose(directions @ directions.T, torch.eye(3), atol=1e-5)
    assert directions.abs().argmax(1).tolist() == [1, 0, 2]


def test_all_directions_removed_leave_the_mean_state_and_one_leaves_the_others() -> None:
    tokens, units, mean = references()
    everything = units.removed([Edit.whole(range(6))] * 2)
    assert same_sums(everything.references, mean.expand(2, -1, -1), terms=36)
    assert same_sums(everything.tokens, tokens.perceptron(mean).expand(2, -1, -1), terms=36, layers=3)
    one = units.removed([Edit.whole([2]), Edit.whole([])])
    directions = units._directions
    before, after = ((shown.references - mean) @ directions.T for shown in (units.whole, one))
    assert after[0, :, 2].abs().max() < 1e-5
    assert torch.allclose(after[0, :, [0, 1, 3, 4, 5]], before[0, :, [0, 1, 3, 4, 5]], atol=1e-5)
    assert torch.equal(one.tokens[1], units.whole.tokens[1])


def test_contributions_of_directions_are_what_removing_them_takes_from_a_linear_score() -> None:
    _, units, _ = references()
    weights = torch.randn(3, 6)
    found = units.contributions(weights.expand(2, -1, -1))
    for unit in range(6):
        fall = ((units.whole.references - units.removed([Edit.whole([unit])] * 2).references) * weights).sum((1, 2))
        assert torch.allclose(torch.stack([row[unit] for row in found]), fall, atol=1e-4)
