"""The paper's dictionary: ReLU codes, squared error summed over d plus L1 of the codes weighted by decoder norm (paper section 2, stage 1).

As in the release, no b_dec is subtracted before the encoder.
"""

from torch import Tensor

from segcompass.sae.dictionary import Dictionary, squared_error


class ReluL1Dictionary(Dictionary):
    """ReLU codes under an L1 penalty."""

    architecture = "standard"

    def __init__(self, width: int, features: int, l1_coefficient: float = 0.0) -> None:
        super().__init__(width, features)
        self.l1_coefficient = l1_coefficient

    def encode(self, x: Tensor) -> Tensor:
        """See `Dictionary.encode`."""
        return self.pre_activations(x).relu()

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """See `Dictionary.losses`."""
        z = self.encode(x)
        sparsity = (z * self.W_dec.norm(dim=1)).sum(-1).mean()
        return {"mse": squared_error(x, self.decode(z)), "l1": self.l1_coefficient * sparsity}
