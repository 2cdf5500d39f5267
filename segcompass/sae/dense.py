"""Control: a dense, linear map of the same shape and number of parameters, trained to reconstruct and nothing else."""

import torch
from torch import Tensor

from segcompass.sae.dictionary import Dictionary, squared_error


class DenseDictionary(Dictionary):
    """Codes are the encoder's outputs, every one of them active."""

    architecture = "dense"

    def __init__(self, width: int, features: int) -> None:
        super().__init__(width, features)
        self.unit_decoder = False  # the norm of a dense map's rows carries information

    def encode(self, x: Tensor) -> Tensor:
        """See `Dictionary.encode`."""
        return self.pre_activations(x)

    def losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """See `Dictionary.losses`."""
        return {"mse": squared_error(x, self.decode(self.encode(x)))}, torch.full((self.features,), len(x), device=x.device)
