"""The one signature of every dictionary: encode, decode, losses (paper section 2, step 3 and stage 1).

Shape letters: T tokens, d width of the hidden states, F concepts.
Departures from the paper:
1. Activations are divided by a constant so that their mean norm is sqrt(d); the constant is folded into the weights when a checkpoint is
   written, so checkpoints read raw activations. It makes learning rate and sparsity weight independent of the backbone's scale.
2. Decoder rows have unit norm after every step; the L1 weight by decoder norm then equals plain L1, and codes cannot shrink for free.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Dictionary(nn.Module, ABC):
    """Encoder and decoder of F concepts over hidden states of width d."""

    architecture: str

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.W_dec = nn.Parameter(nn.functional.normalize(torch.randn(features, width), dim=1))
        self.W_enc = nn.Parameter(self.W_dec.detach().T.clone())
        self.b_enc = nn.Parameter(torch.zeros(features))
        self.b_dec = nn.Parameter(torch.zeros(width))
        self.hook_layer = 0

    @property
    def features(self) -> int:
        """F."""
        return self.W_dec.shape[0]

    @property
    def input_width(self) -> int:
        """d."""
        return self.W_dec.shape[1]

    def pre_activations(self, x: Tensor) -> Tensor:
        """Encoder outputs [.., F] before the nonlinearity, of hidden states [.., d]."""
        return x @ self.W_enc + self.b_enc

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Codes [.., F] of hidden states [.., d]."""

    def decode(self, z: Tensor) -> Tensor:
        """Hidden states [.., d] of codes [.., F]."""
        return z @ self.W_dec + self.b_dec

    @abstractmethod
    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """Named losses of tokens [T, d], averaged over tokens; their sum is minimised."""

    def extra_config(self) -> dict[str, object]:
        """Keys of the architecture for `cfg.json`."""
        return {}

    def weights(self) -> dict[str, Tensor]:
        """Tensors of a checkpoint by SAELens's names."""
        return {"W_enc": self.W_enc, "b_enc": self.b_enc, "W_dec": self.W_dec, "b_dec": self.b_dec}

    @torch.no_grad()
    def after_step(self) -> None:
        """What every optimiser step is followed by: decoder rows get unit norm."""
        self.W_dec.copy_(nn.functional.normalize(self.W_dec, dim=1))

    @torch.no_grad()
    def fold_scale(self, scale: float) -> None:
        """Makes a dictionary that was trained on x / scale read and write x itself; codes stay as they were."""
        self.W_enc.div_(scale)
        self.W_dec.mul_(scale)
        self.b_dec.mul_(scale)


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Reconstruction error summed over d, averaged over tokens."""
    return (x - reconstruction).square().sum(-1).mean()
