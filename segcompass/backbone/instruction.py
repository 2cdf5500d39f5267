"""Instructions as tokens: text is data, whatever it spells.

1. A prompt is tokenised as a whole, so that ordinary words get the ids that the checkpoint was trained on, whatever stands around them.
2. Tokens that mean something to the model (`<image>`, `</s>`, `<|im_end|>`, `<REF_POS>`, every token that was added to a vocabulary) are
   never made from a user's text. What spelt one is tokenised once more by the bare model, which knows none of them. Where one is a word of
   the model's own vocabulary all the same, as in the embedded, word-level tokenizer, an unknown word is read.
3. An instruction for which a sequence has no room is cut to what fits, and one may hold words that the vocabulary lacks: an
   `InstructionReading` says
   both, and what becomes of the answer is for others to decide.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

if TYPE_CHECKING:  # which takes a second to import
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

TOO_LONG, UNKNOWN = "instruction too long", "instruction unknown"
"""Statuses of answers to instructions that cannot be read, beside those of an answer's form (`prompt.status_of`)."""


@dataclass(frozen=True)
class InstructionReading:
    """What a model is given of an instruction."""

    tokens: int
    """Of the whole instruction."""
    room: int
    """Tokens that the sequence has for it, beside the rest of the prompt and the longest answer."""
    unknown: tuple[str, ...]
    """Words that the vocabulary lacks, in their order, each once."""
    blank: bool
    """No token of it is known."""

    @property
    def status(self) -> str:
        """`ok`, or why the instruction cannot be read."""
        if self.tokens > self.room:
            return TOO_LONG
        return UNKNOWN if self.blank else "ok"


@dataclass(frozen=True)
class Pieces:
    """Ids of a prompt: what stands before the instruction, its own, what stands behind it."""

    before: list[int]
    own: list[int]
    after: list[int]
    unknown: tuple[str, ...]
    """See `InstructionReading.unknown`."""


class InstructionReader:
    """Tokenises users' text within the wording of a prompt, or alone.

    Args:
        tokenizer: of the library tokenizers, the vocabulary completed.
        reserved: ids that mean something to the model, beside those of the tokens that were added to the vocabulary.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", reserved: Iterable[int]) -> None:
        self.tokenizer = tokenizer
        # The model's own: the tokenizer of Qwen2.5-VL names one that the model never gives.
        unknown = getattr(tokenizer.backend_tokenizer.model, "unk_token", None)
        self.unknown_id: int | None = None if unknown is None else tokenizer.convert_tokens_to_ids(unknown)
        self.reserved = {*tokenizer.added_tokens_decoder, *reserved}

    def ids(self, text: str) -> list[int]:
        """Ids of a text alone, without a beginning or an end of the sequence."""
        return self.pieces("", text, "", whole=False).own

    def pieces(self, before: str, text: str, after: str, whole: bool = True) -> Pieces:
        """Ids of `before + text + after`, of which only `text` is a user's; `whole` adds what the tokenizer puts around a sequence."""
        wording = before + text + after
        found = self.tokenizer(wording, add_special_tokens=whole, return_offsets_mapping=True)
        ids, places = found["input_ids"], found["offset_mapping"]
        start, stop = len(before), len(before) + len(text)
        own = [i for i, place in enumerate(places) if self._is_of(wording, ids[i], place, start, stop)]
        behind = next((i for i, (a, b) in enumerate(places) if a >= start and b > a), len(ids))  # where an empty text stands
        first, last = (own[0], own[-1] + 1) if own else (behind, behind)
        spelt: list[int] = []
        unknown: dict[str, None] = {}
        words = [(start + match.start(), start + match.end(), match.group()) for match in re.finditer(r"\S+", text)]
        for token, (a, b) in zip(ids[first:last], places[first:last], strict=True):
            tokens = [token] if token not in self.reserved else list(self._bare(wording[a:b]))
            spelt += tokens
            if self.unknown_id in tokens:
                unknown |= dict.fromkeys(word for begin, end, word in words if begin < b and a < end)
        return Pieces(ids[:first], spelt, ids[last:], tuple(unknown))

    def _is_of(self, wording: str, token: int, place: tuple[int, int], start: int, stop: int) -> bool:
        """Whether a token stands for letters from `start` to `stop`.

        A reserved one may take in the spaces around it, across that border; its letters say whose it is.
        """
        a, b = place
        if token in self.reserved:
            covered = wording[a:b]
            a, b = a + len(covered) - len(covered.lstrip()), b - len(covered) + len(covered.rstrip())
        return a < stop and b > start

    def reading(self, pieces: Pieces, room: int) -> InstructionReading:
        """What is said of an instruction for whose tokens there is `room`."""
        return InstructionReading(len(pieces.own), room, pieces.unknown, all(token == self.unknown_id for token in pieces.own))

    def _bare(self, text: str) -> Iterator[int]:
        for token in self._bare_tokenizer.encode(text, add_special_tokens=False).ids:
            if token not in self.reserved or token == self.unknown_id:
                yield token
            elif self.unknown_id is not None:
                yield self.unknown_id

    @cached_property
    def _bare_tokenizer(self) -> Tokenizer:
        """The tokenizer's model without any added token."""
        state = json.loads(self.tokenizer.backend_tokenizer.to_str())
        return Tokenizer.from_str(json.dumps(state | {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}))
