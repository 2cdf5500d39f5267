"""Control: a dense, linear map of the same shape and number of parameters, trained to reconstruct and nothing else."""

from torch import Tensor

from segcompass.sae.dictionary import Dictionary, squared_error


class DenseDictionary(Dictionary):
    """Codes are the encoder's outputs, every one of them active."""

    architecture = "dense"

    def encode(self, x: Tensor) -> Tensor:
        """See `Dictionary.encode`."""
        return self.pre_activations(x)

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """See `Dictionary.losses`."""
        return {"mse": squared_error(x, self.decode(self.encode(x)))}

    def after_step(self) -> None:
        """Nothing: the norm of a dense map's rows carries information."""
