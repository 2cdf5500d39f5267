"""Control: a random, untrained dictionary; each concept's threshold is set so that its L0 equals that of a trained dictionary.

Random directions with a threshold are a strong baseline of many concept metrics: a metric that does not tell it from a trained
dictionary says nothing about training.
"""

import torch
from torch import Tensor

from segcompass.sae.jumprelu import JumpReluDictionary


class UntrainedDictionary(JumpReluDictionary):
    """Random unit directions; a concept is active where its pre-activation exceeds its threshold."""

    @torch.no_grad()
    def match_sparsity(self, x: Tensor, l0: float) -> None:
        """Sets thresholds so that a token of `x` [T, d] has `l0` active concepts on average, and fits the decoder's scale.

        One scale for the whole decoder minimises the squared error, so that the control is not worse than it needs to be.
        """
        self.b_dec.copy_(x.mean(0))
        self.b_enc.copy_(-x.mean(0) @ self.W_enc)
        self.threshold.copy_(self.pre_activations(x).quantile(1 - l0 / self.features, dim=0).clamp(min=0))
        part = self.encode(x) @ self.W_dec
        centred = x - self.b_dec
        self.W_dec.mul_((part * centred).sum() / part.square().sum().clamp(min=1e-12))
