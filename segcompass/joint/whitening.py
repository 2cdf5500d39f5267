"""Whitening of what the slot mapper reads: features of frozen models have a large common part, and differences along few directions.

Departure from the paper: 1. reference states and image embeddings are whitened with statistics of training prompts under the base policy,
fitted once before training and fixed. Measured on the embedded backbone: nine tenths of a reference state's energy is the same for every
prompt, and two thirds of the image embedding's variance tell objects from background and no object from another; without whitening, heat
maps of the mapper alone, given the words of the target, reached a Dice loss of 0.69 in 300 steps, with it 0.56 (one run each).
"""

import torch
from torch import Tensor, nn

SHRINKAGE = 0.01
"""Share of the mean variance that is added to every direction's, so that noise is not blown up."""


class Whitening(nn.Module):
    """Features [.., c] -> centred, decorrelated ones of unit variance; the identity until it is fitted."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Takes mean and covariance of features [n, c]."""
        self.mean.copy_(features.mean(0))
        variances, directions = torch.linalg.eigh(torch.cov(features.double().T))
        scale = (variances + SHRINKAGE * variances.mean()).rsqrt()
        self.matrix.copy_((directions * scale) @ directions.T)

    def forward(self, features: Tensor) -> Tensor:
        """Whitened features [.., c]."""
        return (features - self.mean) @ self.matrix
