"""Top-k dictionary: the k largest pre-activations of a token, with an auxiliary loss that revives dead concepts.

Gao et al., "Scaling and evaluating sparse autoencoders" (2024), sections 2.3 and 2.4 and appendix A.2.
"""

import torch
from torch import Tensor
from torch.nn import functional

from segcompass.sae.dictionary import Dictionary, squared_error
from segcompass.sae.selection import largest
from segcompass.sae.sparse_codes import decode_sparse, encode_sparse


class TopKDictionary(Dictionary):
    """Exactly k (or fewer, where fewer are positive) active concepts a token."""

    architecture = "topk"

    def __init__(self, width: int, features: int, k: int, auxiliary_coefficient: float = 0.0, dead_after_tokens: int = 1 << 62) -> None:
        super().__init__(width, features)
        self.k, self.auxiliary_coefficient, self.dead_after_tokens = k, auxiliary_coefficient, dead_after_tokens

    def encode(self, x: Tensor) -> Tensor:
        """See `Dictionary.encode`."""
        values, indices = self.pre_activations(x).topk(self.k, dim=-1)
        return torch.zeros(*x.shape[:-1], self.features, dtype=values.dtype).scatter(-1, indices, values.relu())

    def losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """See `Dictionary.losses`."""
        values, places = encode_sparse(x, self.W_enc_T, self.b_enc, lambda before: largest(before, self.k))
        reconstruction = decode_sparse(values.relu(), places, self.W_dec, self.b_dec)
        uses = torch.bincount(places.concepts[values > 0], minlength=self.features)
        auxiliary = self.auxiliary(x, x - reconstruction.detach())
        return {"mse": squared_error(x, reconstruction), "auxiliary": self.auxiliary_coefficient * auxiliary}, uses

    def extra_config(self) -> dict[str, object]:
        """See `Dictionary.extra_config`."""
        return {"k": self.k}

    def auxiliary(self, x: Tensor, residual: Tensor) -> Tensor:
        """Squared error of the residual [T, d] as explained by the d / 2 strongest concepts that have been silent for too long."""
        dead = (self.silent_for > self.dead_after_tokens).nonzero()[:, 0]
        if not len(dead):
            return residual.new_zeros(())
        before = x @ self.W_enc_T[dead].T + self.b_enc[dead]
        values, indices = before.topk(min(self.input_width // 2, len(dead)), dim=-1)
        codes = torch.zeros_like(before).scatter(-1, indices, functional.relu(values))
        return squared_error(residual, codes @ self.W_dec[dead])
