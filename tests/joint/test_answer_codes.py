"""Codes of cached answers are those of the dictionary whichever road they take, and padding has none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segcompass.backbone.token_types import INSTRUCTION, OTHER, THOUGHT, VISUAL
from segcompass.joint import answer_codes
from segcompass.joint.answer_codes import AnswerCodes, blanked
from segcompass.joint.cached_answers import Answered, AnswersWriter, CachedAnswers
from segcompass.joint.tokens import ConceptTokens
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.sparse_tokens import SparseTokens
from segcompass.sae.topk import TopKDictionary
from tests.arithmetic import same_sums

pytestmark = pytest.mark.numerical

WIDTH, FEATURES = 16, 40
LENGTHS = (5, 1, 7, 3, 2, 6)


@pytest.fixture
def answers(tmp_path: Path) -> CachedAnswers:
    generator = torch.Generator().manual_seed(0)
    writer = AnswersWriter(tmp_path, torch.float16)
    kinds = (VISUAL, INSTRUCTION, OTHER, THOUGHT)
    for number, tokens in enumerate(LENGTHS):
        types = torch.tensor([kinds[(number + place) % 4] for place in range(tokens)], dtype=torch.uint8)
        hidden = torch.randn(tokens, WIDTH, generator=generator)
        owner = Answered(f"s{number}", "refcoco", "train", "image", "x", "ok")
        writer.add(owner, {2: hidden}, types, torch.arange(tokens), torch.zeros(1, WIDTH), np.zeros((1, 4)))
    writer.close({"layers": [2], "vocabulary": 9, "slots": 1, "longest": 9})
    return CachedAnswers(tmp_path, 2, torch.device("cpu"))


def dictionary(kind: str) -> Dictionary:
    torch.manual_seed(1)
    made = {"sparse": lambda: TopKDictionary(WIDTH, FEATURES, 3), "dense": lambda: DenseDictionary(WIDTH, FEATURES)}[kind]()
    return made.requires_grad_(False)


@pytest.mark.parametrize("rows", [[0], [4, 0, 2], [1, 1, 5], list(range(6))])
@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_codes_of_a_batch_are_the_dictionarys(answers: CachedAnswers, kind: str, rows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_codes, "ENCODED_ANSWERS", 2)
    own, batch = dictionary(kind), answers.batch(rows)
    found = AnswerCodes(answers, own).of(batch)
    expected = own.encode(batch.hidden) * (batch.token_types != OTHER)[..., None]
    assert isinstance(found, SparseTokens) == (kind == "sparse")
    dense = found.dense().view_as(expected) if isinstance(found, SparseTokens) else found
    assert same_sums(dense, expected, terms=WIDTH)
    assert dense[batch.token_types == OTHER].abs().sum() == 0 and dense[batch.token_types != OTHER].abs().sum(-1).min() > 0


def test_a_dictionary_is_encoded_once_if_it_is_sparse(answers: CachedAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    own, calls = dictionary("sparse"), []
    encode = own.encode_sparse
    monkeypatch.setattr(own, "encode_sparse", lambda hidden: calls.append(len(hidden)) or encode(hidden))
    codes = AnswerCodes(answers, own)
    assert sum(calls) == 2 * sum(LENGTHS), "once to see that it is sparse, once for all"
    monkeypatch.setattr(own, "encode", lambda hidden: pytest.fail("encoded again"))
    codes.of(answers.batch([3, 1]))


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_both_roads_make_the_same_tokens_with_the_same_gradient(answers: CachedAnswers, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The share above which a dictionary is dense decides about speed alone."""
    own, batch, rows = dictionary(kind), answers.batch([2, 0, 5]), []
    torch.manual_seed(0)
    weights = torch.randn(3, max(LENGTHS), 12)
    for share in (0.0, 2.0):
        monkeypatch.setattr(answer_codes, "SPARSE_SHARE", share)
        codes = AnswerCodes(answers, own).of(batch)
        assert isinstance(codes, SparseTokens) == bool(share)
        torch.manual_seed(0)
        tokens = ConceptTokens(FEATURES, 12, 0.0)
        embedded = tokens.embed(codes).view_as(weights)
        (gradient,) = torch.autograd.grad((embedded * weights).sum(), tokens.rows)
        rows.append((embedded.detach(), gradient))
    assert same_sums(rows[1][0], rows[0][0], terms=FEATURES) and same_sums(rows[1][1], rows[0][1], terms=sum(LENGTHS))


def test_blanked_tokens_have_no_concept_and_the_others_keep_theirs() -> None:
    codes = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [3.0, -1.0, 0.0], [0.0, 0.0, 4.0]])
    sparse = SparseTokens.of(codes)
    shown = torch.tensor([True, True, False, True])
    found = blanked(sparse, shown)
    assert found.dense().tolist() == [[0.0, 2.0, 0.0], [0.0] * 3, [0.0] * 3, [0.0, 0.0, 4.0]]
    assert found.offsets.tolist() == [0, 1, 1, 1, 2] and found.indices.dtype == torch.int32 and found.features == 3
    assert blanked(sparse, torch.ones(4, dtype=torch.bool)).dense().tolist() == codes.tolist()
    nothing = blanked(sparse, torch.zeros(4, dtype=torch.bool))
    assert len(nothing) == 4 and not len(nothing.values) and nothing.dense().eq(0).all()
