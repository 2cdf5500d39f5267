"""Codes of cached answers under one dictionary: sparse ones are computed once, dense ones anew for every batch.

The dictionary is frozen, so the codes of cached answers are constants. A sparse dictionary's fit into memory (eight bytes an active
concept); those of a dense map would not, and are cheap.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segcompass.backbone.token_types import OTHER
from segcompass.joint.cached_answers import AnswerBatch, CachedAnswers
from segcompass.joint.reading import Codes
from segcompass.joint.tokens import SPARSE_SHARE
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.sparse_tokens import SparseTokens

TRIED_ANSWERS = 16
"""Answers by which a dictionary is judged sparse or dense."""
ENCODED_ANSWERS = 256
"""Answers encoded at a time."""


class AnswerCodes:
    """Codes of the answers of one cache."""

    def __init__(self, answers: CachedAnswers, dictionary: Dictionary) -> None:
        """Encodes every answer where codes are sparse."""
        self.dictionary = dictionary
        tried = self._sparse(answers, range(min(TRIED_ANSWERS, len(answers))))
        self._codes: SparseTokens | None = None
        if len(tried.values) < SPARSE_SHARE * len(tried) * dictionary.features:
            parts = [range(start, min(start + ENCODED_ANSWERS, len(answers))) for start in range(0, len(answers), ENCODED_ANSWERS)]
            self._codes = SparseTokens.concatenated([self._sparse(answers, part) for part in parts])

    @torch.no_grad()
    def of(self, batch: AnswerBatch) -> Codes:
        """Codes of a batch of the same cache, nothing on padding."""
        shown = batch.token_types != OTHER
        if self._codes is None:
            return self.dictionary.encode(batch.hidden) * shown[..., None]
        return blanked(self._codes.select(batch.places.flatten()), shown.flatten())

    @torch.no_grad()
    def _sparse(self, answers: CachedAnswers, rows: Sequence[int]) -> SparseTokens:
        return self.dictionary.encode_sparse(torch.cat([answers.hidden(row) for row in rows]).to(answers.device))


def blanked(codes: SparseTokens, shown: Tensor) -> SparseTokens:
    """The same tokens, of which those not `shown`, bool [n], have no active concept."""
    kept = torch.repeat_interleave(shown, codes.counts)
    counts = torch.where(shown, codes.counts, 0)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return SparseTokens(codes.indices[kept], codes.values[kept], offsets, codes.features)
