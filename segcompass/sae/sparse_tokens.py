"""Codes of many tokens in sparse form: what the concept interface and the causal battery hold in place of a dense block [n, F].

Compressed sparse rows, as SciPy's CSR: token i is active on the concepts `indices[offsets[i]:offsets[i + 1]]`, in ascending order, with
the codes `values` at the same places. Eight bytes an active concept, whatever F is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SparseTokens:
    """Codes of n tokens over F concepts. Values may be of either sign, never zero."""

    indices: Tensor
    """int32 [nnz], concepts; ascending within a token."""
    values: Tensor
    """float32 [nnz], codes."""
    offsets: Tensor
    """int64 [n + 1], where each token's part begins; `offsets[0]` is 0, `offsets[n]` is nnz."""
    features: int
    """F."""

    def __len__(self) -> int:
        """n."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Tensor:
        """Active concepts of each token, int64 [n]."""
        return self.offsets.diff()

    def __getitem__(self, rows: slice) -> "SparseTokens":
        """Consecutive tokens; views of the same memory. A step other than 1 is refused (ValueError): take `select`."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"slices take consecutive tokens, not every {step}; use select")
        bounds = self.offsets[start : max(start, stop) + 1]
        first, last = int(bounds[0]), int(bounds[-1])
        return SparseTokens(self.indices[first:last], self.values[first:last], bounds - first, self.features)

    def select(self, rows: Tensor) -> "SparseTokens":
        """Tokens `rows`, int64 [m], in that order; a token may be taken more than once."""
        counts = self.counts[rows]
        offsets = _offsets(counts)
        within = torch.arange(int(offsets[-1]), device=offsets.device) - torch.repeat_interleave(offsets[:-1], counts)
        places = torch.repeat_interleave(self.offsets[:-1][rows], counts) + within
        return SparseTokens(self.indices[places], self.values[places], offsets, self.features)

    def dense(self, rows: slice | Tensor = slice(None)) -> Tensor:
        """Codes [m, F] of the tokens `rows`: a slice, or int64 [m]; of all tokens where none are named."""
        part = self[rows] if isinstance(rows, slice) else self.select(rows)
        codes = part.values.new_zeros(len(part), self.features)
        codes[torch.repeat_interleave(part.counts), part.indices.long()] = part.values
        return codes

    @classmethod
    def of(cls, codes: Tensor) -> "SparseTokens":
        """The non-zero codes of a dense block [n, F]."""
        tokens, concepts = codes.nonzero(as_tuple=True)
        counts = torch.bincount(tokens, minlength=len(codes))
        return cls(concepts.int(), codes[tokens, concepts].float(), _offsets(counts), codes.shape[1])

    @classmethod
    def concatenated(cls, parts: Sequence["SparseTokens"]) -> "SparseTokens":
        """The tokens of all parts, in order.

        Raises:
            ValueError: there is no part, or parts differ in F.
        """
        widths = {part.features for part in parts}
        if len(widths) != 1:
            raise ValueError(f"parts must agree in their number of concepts, of which there are {sorted(widths) or 'none'}")
        offsets = _offsets(torch.cat([part.counts for part in parts]))
        return cls(torch.cat([part.indices for part in parts]), torch.cat([part.values for part in parts]), offsets, widths.pop())


def encoded_in_blocks(encode: Callable[[Tensor], Tensor], hidden: Tensor, features: int, block: int) -> SparseTokens:
    """Sparse codes of hidden states [n, d] under `encode`, [t, d] -> [t, F], of which no more than `block` tokens are dense at a time."""
    if not len(hidden):
        return SparseTokens.of(torch.zeros(0, features, device=hidden.device))
    return SparseTokens.concatenated([SparseTokens.of(encode(part.float())) for part in hidden.split(block)])


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
