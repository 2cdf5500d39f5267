"""Which concepts of a block of tokens are kept: exact selections that avoid sorting all F pre-activations.

Each returns what `sparse_codes.Choose` asks for: places in the flattened block of pre-activations [t, F], int64 [n], by ascending token.
"""

import torch
from torch import Tensor

GROUP = 16
"""Concepts a group of the top-k selection."""


def largest(before: Tensor, k: int) -> Tensor:
    """The k largest of each row of pre-activations [t, F].

    Two stages, exact: the k largest lie in the k groups whose maxima are largest, since a group outside them has k values above all of its
    own. Groups are strided, so that their maxima are element-wise maxima of contiguous rows.
    """
    tokens, features = before.shape
    groups = features // GROUP
    if features % GROUP or k >= groups:
        concepts = before.topk(k, dim=-1, sorted=False).indices
    else:
        best = before.view(tokens, GROUP, groups).amax(1).topk(k, dim=-1, sorted=False).indices
        candidates = (best[:, None] + groups * torch.arange(GROUP, device=before.device)[:, None]).flatten(1)
        concepts = candidates.gather(1, before.gather(1, candidates).topk(k, dim=-1, sorted=False).indices)
    return (concepts + features * torch.arange(tokens, device=before.device)[:, None]).flatten()


def above(before: Tensor, threshold: Tensor) -> Tensor:
    """All of a block's pre-activations [t, F] above a threshold [F]."""
    return (before > threshold).flatten().nonzero()[:, 0]
