"""Control: the hidden units themselves as concepts, of which each token keeps the k that deviate most from their means.

No direction is learnt or drawn: what a dictionary adds to the basis that the model computes in, it must add beyond these. Codes are
deviations from the mean, of either sign; a unit that is not kept stays at its mean, which is the choice of k units with the least
squared error. k is the mean number of active concepts of the dictionary that the units are compared with.
"""

import torch
from torch import Tensor

from segcompass.sae.dictionary import Dictionary, squared_error


class NeuronDictionary(Dictionary):
    """F = d concepts; encoder and decoder are the identity."""

    architecture = "neurons"

    def __init__(self, width: int, k: int) -> None:
        super().__init__(width, width)
        self.k = k
        with torch.no_grad():
            self.W_dec.copy_(torch.eye(width))
            self.W_enc_T.copy_(torch.eye(width))

    def encode(self, x: Tensor) -> Tensor:
        """See `Dictionary.encode`."""
        deviations = self.pre_activations(x)
        kept = deviations.abs().topk(self.k, dim=-1).indices
        return torch.zeros_like(deviations).scatter(-1, kept, deviations.gather(-1, kept))

    def losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """See `Dictionary.losses`; nothing of it is trained."""
        codes = self.encode(x)
        return {"mse": squared_error(x, self.decode(codes))}, (codes != 0).sum(0)

    def extra_config(self) -> dict[str, object]:
        """See `Dictionary.extra_config`."""
        return {"k": self.k}
