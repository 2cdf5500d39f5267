"""The paper's dictionary: ReLU codes, squared error summed over d plus L1 of the codes weighted by decoder norm (paper section 2, stage 1).

As in the release, no b_dec is subtracted before the encoder. Departure: encoder biases start where each concept is active on the share
`initial_density` of the tokens (Conerly et al., "Dictionary learning optimization techniques", Anthropic, January 2025), not on half of
them: training starts sparse, hence fast, and with every concept alive.
"""

import torch
from torch import Tensor

from segcompass.sae.dictionary import Dictionary, squared_error
from segcompass.sae.revival import missing_drive, silent_concepts
from segcompass.sae.selection import above
from segcompass.sae.sparse_codes import encode_sparse

DENSE_ABOVE = 0.06
"""Share of active codes above which dense products are faster than sums of rows (measured by `benchmarks/sae.py`)."""
PROBE_TOKENS = 64
"""Tokens by which the share is estimated."""
QUANTILE_TOKENS = 1024
"""Tokens by which the starting biases are set."""


class ReluL1Dictionary(Dictionary):
    """ReLU codes under an L1 penalty."""

    architecture = "standard"

    def __init__(
        self,
        width: int,
        features: int,
        l1_coefficient: float = 0.0,
        initial_density: float = 0.5,
        revival_coefficient: float = 0.0,
        dead_after_tokens: int = 1 << 62,
    ) -> None:
        super().__init__(width, features)
        self.l1_coefficient, self.initial_density = l1_coefficient, initial_density
        self.revival_coefficient, self.dead_after_tokens = revival_coefficient, dead_after_tokens

    def encode(self, x: Tensor) -> Tensor:
        """See `Dictionary.encode`."""
        return self.pre_activations(x).relu()

    def losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """See `Dictionary.losses`."""
        norms = self.W_dec.norm(dim=1)
        if self._share_of_active(x) > DENSE_ABOVE:
            z = self.encode(x)
            reconstruction, totals = self.decode(z), z.sum(0)
            uses = (z.detach() > 0).sum(0)
        else:
            values, places = encode_sparse(x, self.W_enc_T, self.b_enc, lambda before: above(before, torch.zeros_like(self.b_enc)))
            reconstruction = self.decode_sparse(values, places)
            totals = torch.zeros_like(norms).index_add(0, places.concepts, values)
            uses = places.uses
        silent = silent_concepts(self, self.dead_after_tokens)
        revival = self.revival_coefficient * missing_drive(self, x, silent, x.new_zeros(len(silent)))
        l1 = self.l1_coefficient * self.concepts.summed(totals @ norms) / len(x)
        return {"mse": squared_error(x, reconstruction), "l1": l1, "revival": revival}, uses

    @torch.no_grad()
    def start_at(self, x: Tensor, centre: Tensor) -> None:
        """See `Dictionary.start_at`."""
        super().start_at(x, centre)
        self.b_enc.sub_(self.pre_activations(x[:QUANTILE_TOKENS]).quantile(1 - self.initial_density, dim=0))

    @torch.no_grad()
    def _share_of_active(self, x: Tensor) -> float:
        return float((self.pre_activations(x[:PROBE_TOKENS]) > 0).float().mean())
