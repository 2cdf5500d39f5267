"""Layouts of pooled tokens, and edits of part of their codes, in sparse and in dense form."""

import pytest
import torch

from segcompass.backbone.token_types import OTHER, THOUGHT
from segcompass.causal.code_exchange import with_concepts_of, with_subspace_of
from segcompass.causal.token_pool import joined_codes
from segcompass.joint.reading import Codes
from segcompass.sae.sparse_tokens import SparseTokens
from tests.causal.planted_answers import CONCEPTS, PlantedRuns

WRITTEN = {"a": ([0, 1], [2], [3, 4], 5), "b": ([6], [7, 0], [1], 2)}


def dense(codes: Codes) -> torch.Tensor:
    return codes.dense() if isinstance(codes, SparseTokens) else codes


@pytest.mark.parametrize("offset", [0.0, 1.0], ids=["sparse", "dense"])
def test_own_layouts_are_the_answers_and_others_take_whole_blocks(offset: float) -> None:
    runs = PlantedRuns(WRITTEN, offset)
    answers = runs.answers([("x", "y", "a"), ("x", "y", "b")])
    assert isinstance(answers.pool.codes, SparseTokens) == (offset == 0)
    first, second = answers.blocks
    assert [len(part) for part in first] == [2, 1, 2] and [len(part) for part in second] == [1, 2, 1]
    reading = answers.pool.reading([first.layout, torch.cat([second.visual, second.instruction, first.thought])], answers.reference_states)
    assert reading.ids.tolist() == [[0, 1, 2, 3, 4], [6, 7, 0, 3, 4]]
    shorter = answers.pool.reading([first.layout, second.layout], answers.reference_states)
    assert shorter.token_types[1].tolist() == [OTHER, 0, 1, 1, 2]
    codes = dense(shorter.codes).view(2, 5, CONCEPTS)
    assert not codes[1, 0].any(), "padding has no concept"
    assert torch.equal(codes[0], torch.eye(CONCEPTS)[[0, 1, 2, 3, 4]] + offset)
    assert reading.reference_states[:, 0].argmax(1).tolist() == [5, 2]


@pytest.mark.parametrize("offset", [0.0, 1.0], ids=["sparse", "dense"])
def test_edited_tokens_are_appended_with_the_words_of_those_that_they_stand_for(offset: float) -> None:
    answers = PlantedRuns(WRITTEN, offset).answers([("x", "y", "a"), ("x", "y", "b")])
    own, other = answers.blocks[0].thought[:1], answers.blocks[1].thought
    pool, places = answers.pool.with_tokens(answers.pool.at(other), own)
    assert pool.ids[places].tolist() == [3] and pool.token_types[places].tolist() == [THOUGHT]
    assert torch.equal(dense(pool.at(places)), torch.eye(CONCEPTS)[[1]] + offset)
    assert torch.equal(dense(pool.codes)[: len(answers.pool.ids)], dense(answers.pool.codes))


def test_chosen_concepts_are_the_partner_s_in_either_form() -> None:
    generator = torch.Generator().manual_seed(0)
    own, partner = ((torch.rand(12, 6, generator=generator) - 0.3) * (torch.rand(12, 6, generator=generator) < 0.5) for _ in range(2))
    chosen = torch.rand(3, 6, generator=generator) < 0.5
    group = torch.arange(12) // 4
    expected = torch.where(chosen[group], partner, own)
    assert torch.equal(dense(with_concepts_of(partner, own, chosen, group)), expected)
    sparse = with_concepts_of(SparseTokens.of(partner), SparseTokens.of(own), chosen, group)
    assert isinstance(sparse, SparseTokens) and torch.equal(sparse.dense(), expected)
    for token in range(12):
        concepts = sparse[token : token + 1].indices.tolist()
        assert concepts == sorted(concepts)
    none = with_concepts_of(SparseTokens.of(partner), SparseTokens.of(own), torch.zeros(3, 6, dtype=torch.bool), group)
    assert isinstance(none, SparseTokens) and torch.equal(none.dense(), own)


def test_coordinates_of_a_subspace_are_the_partner_s_and_the_rest_stays() -> None:
    own, partner = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[5.0, -2.0, 0.0]])
    assert torch.equal(with_subspace_of(partner, own, torch.eye(3)[[1]]), torch.tensor([[1.0, -2.0, 3.0]]))
    diagonal = torch.tensor([[0.5**0.5, 0.5**0.5, 0.0]])
    # Along (1, 1) the coordinates are 3 and 3: nothing to exchange; across it 1 - 2 stays.
    assert torch.allclose(with_subspace_of(partner, own, diagonal), own)
    assert torch.equal(with_subspace_of(partner, own, torch.zeros(0, 3)), own)


def test_tokens_of_both_forms_are_joined_densely() -> None:
    codes = torch.eye(3)
    assert torch.equal(dense(joined_codes([SparseTokens.of(codes), codes])), torch.cat([codes, codes]))
