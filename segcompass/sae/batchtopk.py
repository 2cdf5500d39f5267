"""Batch top-k dictionary: the k * T largest pre-activations of a batch of T tokens, so tokens may differ in how many concepts they need.

Bussmann, Leask, Nanda, "BatchTopK sparse autoencoders" (2024). One threshold, the running mean of a batch's least active value, stands in
for the batch when single tokens are encoded; a checkpoint is therefore that of a JumpReLU.
"""

import torch
from torch import Tensor

from segcompass.sae.dictionary import squared_error
from segcompass.sae.selection import above
from segcompass.sae.sparse_codes import encode_sparse
from segcompass.sae.topk import TopKDictionary

MOMENTUM = 0.99
"""Weight of the past in the running threshold."""
FLOOR = 0.8
"""Candidates lie above this share of the running threshold; if they are too few, all positive values are candidates."""


class BatchTopKDictionary(TopKDictionary):
    """On average k active concepts a token; dead ones are revived as in top-k."""

    architecture = "jumprelu"
    least_active: Tensor
    """The running threshold; negative before the first batch."""

    def __init__(self, width: int, features: int, k: int, auxiliary_coefficient: float = 0.0, dead_after_tokens: int = 1 << 62) -> None:
        super().__init__(width, features, k, auxiliary_coefficient, dead_after_tokens)
        self.register_buffer("least_active", torch.tensor(-1.0))

    def encode(self, x: Tensor) -> Tensor:
        """See `Dictionary.encode`."""
        before = self.pre_activations(x)
        return before * (before > self.least_active.clamp(min=0))

    def losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """See `Dictionary.losses`; also moves the running threshold."""
        floor = FLOOR * float(self.least_active.clamp(min=0))
        values, places = encode_sparse(x, self.W_enc_T, self.b_enc, lambda before: above(before, torch.full_like(self.b_enc, floor)))
        if self.concepts.count(values) < self.k * len(x) and floor > 0:
            values, places = encode_sparse(x, self.W_enc_T, self.b_enc, lambda before: above(before, torch.zeros_like(self.b_enc)))
        found = values.detach()
        least = self.concepts.least_of_largest(found, self.k * len(x))
        self.least_active = torch.where(self.least_active < 0, least, MOMENTUM * self.least_active + (1 - MOMENTUM) * least)
        kept = found >= least
        reconstruction = self.decode_sparse(values * kept, places)
        uses = torch.bincount(places.concepts[kept], minlength=self.features)
        return {"mse": squared_error(x, reconstruction), "auxiliary": self.auxiliary(x, reconstruction)}, uses

    def weights(self) -> dict[str, Tensor]:
        """See `Dictionary.weights`."""
        return super().weights() | {"threshold": self.least_active.clamp(min=0).expand(self.features)}

    def extra_config(self) -> dict[str, object]:
        """See `Dictionary.extra_config`."""
        return {}
