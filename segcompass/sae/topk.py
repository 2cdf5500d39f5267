"""Top-k dictionary: the k largest pre-activations of a token, with an auxiliary loss that revives dead features.

Gao et al., "Scaling and evaluating sparse autoencoders" (2024): features silent for `dead_after_tokens` tokens explain the residual.
Decoding gathers the k active rows instead of multiplying with all F.
"""

import torch
from torch import Tensor
from torch.nn import functional

from segcompass.sae.dictionary import Dictionary, squared_error


class TopKDictionary(Dictionary):
    """Exactly k (or fewer, where fewer are positive) active concepts a token."""

    architecture = "topk"
    silent_for: Tensor

    def __init__(self, width: int, features: int, k: int, auxiliary_coefficient: float = 0.0, dead_after_tokens: int = 1 << 62) -> None:
        super().__init__(width, features)
        self.k, self.auxiliary_coefficient, self.dead_after_tokens = k, auxiliary_coefficient, dead_after_tokens
        self.register_buffer("silent_for", torch.zeros(features, dtype=torch.int64))

    def encode(self, x: Tensor) -> Tensor:
        """See `Dictionary.encode`."""
        values, indices = self.pre_activations(x).topk(self.k, dim=-1)
        return torch.zeros(*x.shape[:-1], self.features, dtype=values.dtype).scatter(-1, indices, values.relu())

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """See `Dictionary.losses`; also counts for how many tokens each feature has been silent."""
        before = self.pre_activations(x)
        values, indices = before.topk(self.k, dim=-1)
        values = values.relu()
        reconstruction = functional.embedding_bag(indices, self.W_dec, per_sample_weights=values, mode="sum") + self.b_dec
        error = squared_error(x, reconstruction)
        fired = torch.zeros(self.features, dtype=torch.bool)
        fired[indices[values > 0]] = True
        self.count_silent(fired, len(x))
        return {"mse": error, "auxiliary": self.auxiliary_coefficient * self.auxiliary(x - reconstruction.detach(), before)}

    def count_silent(self, fired: Tensor, tokens: int) -> None:
        """Counts for how many tokens each feature has been silent: fired, bool [F], in the last `tokens` ones."""
        self.silent_for = torch.where(fired, 0, self.silent_for + tokens)

    def extra_config(self) -> dict[str, object]:
        """See `Dictionary.extra_config`."""
        return {"k": self.k}

    def auxiliary(self, residual: Tensor, before: Tensor) -> Tensor:
        """Squared error of the residual [T, d] explained by the strongest dead features, of pre-activations [T, F]."""
        dead = self.silent_for > self.dead_after_tokens
        if not dead.any():
            return residual.new_zeros(())
        values, indices = before.masked_fill(~dead, -torch.inf).topk(min(2 * self.k, int(dead.sum())), dim=-1)
        explained = functional.embedding_bag(indices, self.W_dec, per_sample_weights=values.relu(), mode="sum")
        return squared_error(residual, explained)
