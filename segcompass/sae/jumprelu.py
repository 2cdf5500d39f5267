"""JumpReLU dictionary: a concept is active where its pre-activation exceeds its own, learnt threshold.

Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU sparse autoencoders" (2024): squared error plus an L0
penalty; thresholds get their gradient from a rectangle of width `bandwidth` around the jump.
"""

from typing import Any

import torch
from torch import Tensor, nn

from segcompass.sae.dictionary import Dictionary, squared_error
from segcompass.sae.revival import missing_drive, silent_concepts
from segcompass.sae.selection import above
from segcompass.sae.sparse_codes import encode_sparse


class JumpReluDictionary(Dictionary):
    """Codes are pre-activations above their thresholds, zero elsewhere."""

    architecture = "jumprelu"

    def __init__(
        self,
        width: int,
        features: int,
        l0_coefficient: float = 0.0,
        bandwidth: float = 1.0,
        initial_threshold: float = 0.0,
        revival_coefficient: float = 0.0,
        dead_after_tokens: int = 1 << 62,
    ) -> None:
        super().__init__(width, features)
        self.l0_coefficient, self.bandwidth = l0_coefficient, bandwidth
        self.revival_coefficient, self.dead_after_tokens = revival_coefficient, dead_after_tokens
        self.threshold = nn.Parameter(torch.full((features,), initial_threshold))

    def encode(self, x: Tensor) -> Tensor:
        """See `Dictionary.encode`."""
        before = self.pre_activations(x)
        return before * (before > self.threshold)

    def losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """See `Dictionary.losses`. Places hold what is active and what is near its threshold: nothing else has a gradient."""
        lowest = self.threshold.detach() - self.bandwidth / 2
        values, places = encode_sparse(x, self.W_enc_T, self.b_enc, lambda before: above(before, lowest))
        thresholds = self.threshold[places.concepts]
        reconstruction = self.decode_sparse(_Jump.apply(values, thresholds, self.bandwidth), places)
        l0 = self.concepts.summed(_Active.apply(values, thresholds, self.bandwidth).sum()) / len(x)
        uses = torch.bincount(places.concepts[values > thresholds], minlength=self.features)
        silent = silent_concepts(self, self.dead_after_tokens)
        revival = self.revival_coefficient * missing_drive(self, x, silent, self.threshold.detach()[silent])
        return {"mse": squared_error(x, reconstruction), "l0": self.l0_coefficient * l0, "revival": revival}, uses

    def weights(self) -> dict[str, Tensor]:
        """See `Dictionary.weights`."""
        return super().weights() | {"threshold": self.threshold}

    @torch.no_grad()
    def after_step(self) -> None:
        """See `Dictionary.after_step`; thresholds stay positive, as ReLU demands."""
        super().after_step()
        self.threshold.clamp_(min=0.0)


class _Jump(torch.autograd.Function):
    """before * (before > threshold)."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(before, threshold)
        ctx.bandwidth = bandwidth
        return before * (before > threshold)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,) = gradients
        before, threshold = ctx.saved_tensors
        return gradient * (before > threshold), -_near(ctx) * threshold * gradient, None


class _Active(torch.autograd.Function):
    """1 where before > threshold, else 0."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(before, threshold)
        ctx.bandwidth = bandwidth
        return (before > threshold).to(before.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = gradients
        return None, -_near(ctx) * gradient, None


def _near(ctx: Any) -> Tensor:
    """The rectangle kernel: 1 / bandwidth within half a bandwidth of the threshold."""
    before, threshold = ctx.saved_tensors
    return ((before - threshold).abs() < ctx.bandwidth / 2) / ctx.bandwidth
