"""Edits that take part of a token's codes, or of its hidden state, from a corresponding token of another answer.

* `with_concepts_of`: z'_f = partner's z_f for the chosen concepts f, own z_f for all others. No concept chosen: own codes to the bit.
* `with_subspace_of`: h' = h + (h_partner - h) B^T B for an orthonormal basis B [r, d]: the coordinates within the subspace are the
  partner's, all that is orthogonal to it stays. Neurons are the subspace of unit vectors, components of principal ones. The dictionary
  encodes what comes out: hidden states are the place where the alternatives to a dictionary live, codes are what an interface reads.

Shape letters: M tokens, F concepts, d language width, r dimensions, G groups of tokens.
"""

import torch
from torch import Tensor

from segcompass.joint.reading import Codes
from segcompass.sae.sparse_tokens import SparseTokens


def with_concepts_of(partner: Codes, own: Codes, chosen: Tensor, group: Tensor) -> Codes:
    """Own codes of M tokens, with the chosen concepts of the partner's M tokens in the same form.

    Args:
        partner: [M, F].
        own: [M, F].
        chosen: bool [G, F], concepts that are exchanged in each group.
        group: int64 [M], the group of each token.
    """
    if not (isinstance(own, SparseTokens) and isinstance(partner, SparseTokens)):
        assert isinstance(own, Tensor) and isinstance(partner, Tensor)
        return torch.where(chosen[group], partner, own)
    kept = [(codes, _tokens(codes), takes) for codes, takes in ((own, False), (partner, True))]
    here = [chosen[group[tokens], codes.indices.long()] == takes for codes, tokens, takes in kept]
    tokens = torch.cat([tokens[mask] for (_, tokens, _), mask in zip(kept, here, strict=True)])
    concepts = torch.cat([codes.indices[mask] for (codes, *_), mask in zip(kept, here, strict=True)])
    values = torch.cat([codes.values[mask] for (codes, *_), mask in zip(kept, here, strict=True)])
    order = torch.argsort(tokens * own.features + concepts)
    counts = torch.bincount(tokens, minlength=len(own))
    return SparseTokens(concepts[order], values[order], torch.cat([counts.new_zeros(1), counts.cumsum(0)]), own.features)


def with_subspace_of(partner: Tensor, own: Tensor, basis: Tensor) -> Tensor:
    """Own hidden states [M, d] with the partner's coordinates in the span of an orthonormal basis [r, d]."""
    return own + (partner - own) @ basis.T @ basis


def _tokens(codes: SparseTokens) -> Tensor:
    """The token of each active concept, int64 [nnz]."""
    return torch.repeat_interleave(codes.counts)
