"""Top-k dictionary: the k largest pre-activations of a token, with an auxiliary loss that revives dead concepts.

Gao et al., "Scaling and evaluating sparse autoencoders" (2024), sections 2.3 and 2.4 and appendix A.2.
"""

import torch
from torch import Tensor

from segcompass.sae.dictionary import Dictionary, squared_error
from segcompass.sae.revival import explained_residual, silent_concepts
from segcompass.sae.sparse_codes import encode_sparse


class TopKDictionary(Dictionary):
    """Exactly k (or fewer, where fewer are positive) active concepts a token."""

    architecture = "topk"

    def __init__(self, width: int, features: int, k: int, auxiliary_coefficient: float = 0.0, dead_after_tokens: int = 1 << 62) -> None:
        super().__init__(width, features)
        self.k, self.auxiliary_coefficient, self.dead_after_tokens = k, auxiliary_coefficient, dead_after_tokens

    def encode(self, x: Tensor) -> Tensor:
        """See `Dictionary.encode`."""
        values, indices = self.pre_activations(x).topk(self.k, dim=-1)
        return values.new_zeros(*x.shape[:-1], self.features).scatter(-1, indices, values.relu())

    def losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """See `Dictionary.losses`."""
        values, places = encode_sparse(x, self.W_enc_T, self.b_enc, lambda before: self.concepts.largest(before, self.k))
        reconstruction = self.decode_sparse(values.relu(), places)
        uses = torch.bincount(places.concepts[values > 0], minlength=self.features)
        return {"mse": squared_error(x, reconstruction), "auxiliary": self.auxiliary(x, reconstruction)}, uses

    def auxiliary(self, x: Tensor, reconstruction: Tensor) -> Tensor:
        """The weighted loss that revives silent concepts by the residual of tokens [T, d] and their reconstructions."""
        silent = silent_concepts(self, self.dead_after_tokens)
        return self.auxiliary_coefficient * explained_residual(self, x, x - reconstruction.detach(), silent)

    def extra_config(self) -> dict[str, object]:
        """See `Dictionary.extra_config`."""
        return {"k": self.k}
