"""The tokens of an answer's form, added to checkpoints that lack them.

1. `<think>`, `</think>` and `<REF_POS>` become special tokens, each one id. A tokenizer that knows one keeps it as it is.
2. Their rows of the embedding matrix and of the output head are the means of the rows of the pieces that spelt them before ("<", "think",
   ">"): deterministic, inside the distribution of trained rows, and different from each other. A mean over the whole vocabulary would give
   all three the same input, for good, because of rule 4.
3. Matrices grow only where an id does not fit. Padded ones (Qwen2.5-VL: 152,064 rows for 151,665 tokens; LLaVA-1.5: 32,064 for 32,002)
   keep their size.
4. Everything up to the hook is frozen, the embedding matrix with its new rows included, so that hidden states at the hook stay constants.
   The head is trained as a whole, and learns when to emit the new tokens.
5. Where a checkpoint ties head and embeddings, the head becomes a copy of its own; otherwise training it would move what rule 4 freezes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken
from torch import nn

from segcompass.backbone.prompt import REFERENCE, THINK_CLOSE, THINK_OPEN

if TYPE_CHECKING:  # which takes a second to import
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase


@torch.no_grad()
def complete_vocabulary(model: Any, tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Adds what is missing to the tokenizer and to the model's matrices, in place.

    Args:
        model: a conditional-generation model of transformers, its head at `lm_head`.
        tokenizer: the checkpoint's own.

    Returns:
        The tokens that were added.
    """
    spelt = complete_tokenizer(tokenizer)
    rows = 1 + max(tokenizer.get_vocab().values())
    if rows > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(rows, mean_resizing=False)
    _untie(model)
    for matrix in (model.get_input_embeddings().weight, model.lm_head.weight):
        for token, spelling in spelt.items():
            matrix[tokenizer.convert_tokens_to_ids(token)] = matrix[spelling].float().mean(0).to(matrix.dtype)
    return list(spelt)


def complete_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> dict[str, list[int]]:
    """Adds what is missing to the tokenizer, in place.

    Returns:
        The tokens that were added, and the ids that spelt each one before.
    """
    missing = [token for token in (THINK_OPEN, THINK_CLOSE, REFERENCE) if token not in tokenizer.get_vocab()]
    spelt = {token: tokenizer.encode(token, add_special_tokens=False) for token in missing}
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in missing], special_tokens=True)
    return spelt


def pieces(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> list[str]:
    """What each token adds to the text of those before it, spaces included."""
    found, before = [], ""
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:end], skip_special_tokens=False)
        found.append(text[len(before) :])
        before = text
    return found


def _untie(model: Any) -> None:
    if model.lm_head.weight is model.get_input_embeddings().weight:
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
        model.config.tie_word_embeddings = False
