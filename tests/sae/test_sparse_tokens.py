"""Sparse codes of many tokens: by hand, and the same numbers as the dense ones."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from segcompass.sae import dictionary as dictionaries
from segcompass.sae.batchtopk import BatchTopKDictionary
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.sparse_tokens import SparseTokens
from segcompass.sae.topk import TopKDictionary

CODES = torch.tensor([[0.0, 2.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.5]])
MAKE: dict[str, Callable[[], Dictionary]] = {
    "relu_l1": lambda: ReluL1Dictionary(8, 24),
    "topk": lambda: TopKDictionary(8, 24, 3),
    "batchtopk": lambda: BatchTopKDictionary(8, 24, 3),
    "jumprelu": lambda: JumpReluDictionary(8, 24, initial_threshold=0.3),
    "dense": lambda: DenseDictionary(8, 24),
}


def lists(tokens: SparseTokens) -> tuple[list[int], list[float], list[int]]:
    return tokens.indices.tolist(), tokens.values.tolist(), tokens.offsets.tolist()


def test_by_hand() -> None:
    tokens = SparseTokens.of(CODES)
    # Token 1 has concepts 1 and 3, token 2 none, token 3 concepts 0 and 3.
    assert lists(tokens) == ([1, 3, 0, 3], [2.0, -1.0, 3.0, 0.5], [0, 2, 2, 4])
    assert (tokens.indices.dtype, tokens.values.dtype, tokens.offsets.dtype) == (torch.int32, torch.float32, torch.int64)
    assert len(tokens) == 3 and tokens.features == 4 and tokens.counts.tolist() == [2, 0, 2]
    assert torch.equal(tokens.dense(), CODES)


def test_slices_begin_at_zero_and_share_memory() -> None:
    tokens = SparseTokens.of(CODES)
    assert lists(tokens[1:]) == ([0, 3], [3.0, 0.5], [0, 0, 2])
    assert tokens[1:].values.data_ptr() == tokens.values[2:].data_ptr()
    assert torch.equal(tokens.dense(slice(0, 2)), CODES[:2]) and torch.equal(tokens[1:].dense(slice(1, 2)), CODES[2:])
    assert len(tokens[2:2]) == 0 and tokens[3:1].dense().shape == (0, 4)
    with pytest.raises(ValueError, match="every 2; use select"):
        tokens[::2]


@pytest.mark.parametrize("rows", [[2, 0], [0, 0, 2], [1], []])
def test_selected_rows_come_in_the_order_that_is_asked_for(rows: list[int]) -> None:
    tokens, chosen = SparseTokens.of(CODES), torch.tensor(rows, dtype=torch.int64)
    assert torch.equal(tokens.dense(chosen), CODES[chosen]) and len(tokens.select(chosen)) == len(rows)
    assert lists(tokens.select(chosen)) == lists(SparseTokens.of(CODES[chosen]))


def test_concatenation_is_that_of_the_rows() -> None:
    parts = [SparseTokens.of(CODES[:1]), SparseTokens.of(CODES[1:2]), SparseTokens.of(CODES[2:])]
    assert lists(SparseTokens.concatenated(parts)) == lists(SparseTokens.of(CODES))
    with pytest.raises(ValueError, match=r"of which there are \[3, 4\]"):
        SparseTokens.concatenated([parts[0], SparseTokens.of(CODES[:, :3])])
    with pytest.raises(ValueError, match="none"):
        SparseTokens.concatenated([])


@pytest.mark.parametrize("name", list(MAKE))
@pytest.mark.parametrize("tokens", [0, 1, 16, 45])
@torch.no_grad()
def test_every_dictionary_gives_the_codes_of_encode(name: str, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionaries, "BLOCK_TOKENS", 16)
    torch.manual_seed(0)
    dictionary, x = MAKE[name](), torch.randn(tokens, 8)
    found = dictionary.encode_sparse(x)
    assert len(found) == tokens and (found.values != 0).all()
    in_blocks = torch.cat([dictionary.encode(part) for part in x.split(16)]) if tokens else torch.zeros(0, 24)
    assert torch.equal(found.dense(), in_blocks), "to the last digit"
    assert torch.allclose(found.dense(), dictionary.encode(x), atol=1e-6)
    for start, end in zip(found.offsets[:-1].tolist(), found.offsets[1:].tolist(), strict=True):
        assert (found.indices[start:end].diff() > 0).all(), "concepts ascend within a token"


def test_no_more_than_a_block_is_encoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionaries, "BLOCK_TOKENS", 16)
    dictionary, seen = ReluL1Dictionary(8, 24), []
    encode = dictionary.encode

    def watched(x: Tensor) -> Tensor:
        seen.append(len(x))
        return encode(x)

    monkeypatch.setattr(dictionary, "encode", watched)
    dictionary.encode_sparse(torch.randn(45, 8).half())
    assert seen == [16, 16, 13]
