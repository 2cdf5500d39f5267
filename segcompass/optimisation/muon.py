"""Muon: momentum made orthogonal for hidden matrices, AdamW for everything else, in one optimiser.

Jordan et al., "Muon" (2024); step size as in Liu et al., "Muon is scalable for LLM training" (2025): an update has the root mean square
of an AdamW step, so both parts share one scale of learning rates. `torch.optim.Muon` iterates in bfloat16, which this kind of processor
emulates: one training step of the embedded language model took three times as long with it. Here the iteration runs in float32, on all
matrices of one shape at once.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
LONG = 2
"""How many times as long as wide a matrix is from which on its Gram matrix is iterated in its place: a quarter of the time at 32 times."""
RMS = 0.2
"""Root mean square of an update at learning rate 1, that of a typical AdamW step."""
NOT_HIDDEN = ("embed", "head", "_token", "rows", "words", "places", "rel_pos")
"""Parts of names of two-dimensional parameters that are tables or read-outs, not maps between hidden states."""


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly the nearest semi-orthogonal matrices of matrices [n, rows, columns]: Newton-Schulz, singular values in 0.7 … 1.2."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    if x.shape[2] >= LONG * x.shape[1]:
        x = _all_factors(x @ x.transpose(1, 2)) @ x
    else:
        for _ in range(ITERATIONS):
            x = _factor(x @ x.transpose(1, 2)) @ x
    return x.transpose(1, 2) if tall else x


def _factor(gram: Tensor) -> Tensor:
    """What one iteration multiplies matrices with Gram matrices [n, r, r] by."""
    a, b, c = COEFFICIENTS
    return torch.baddbmm(b * gram, gram, gram, alpha=c) + a * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)


def _all_factors(gram: Tensor) -> Tensor:
    """The product of all iterations' factors: polynomials of the first Gram matrix, which commute, so the long side need not be touched."""
    product = factor = _factor(gram)
    for _ in range(ITERATIONS - 1):
        gram = factor @ gram @ factor
        factor = _factor(gram)
        product = factor @ product
    return product


class Muon(torch.optim.Optimizer):
    """Hidden matrices by Muon, other parameters by AdamW; weight decay is decoupled and for matrices only."""

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        learning_rate: float,
        matrix_learning_rate: float,
        weight_decay: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        named = list(named_parameters)
        hidden = [value for name, value in named if _is_hidden(name, value)]
        others = [value for name, value in named if not _is_hidden(name, value)]
        groups = [
            {"params": hidden, "lr": matrix_learning_rate, "peak": matrix_learning_rate, "orthogonal": True, "weight_decay": weight_decay},
            {"params": others, "lr": learning_rate, "peak": learning_rate, "orthogonal": False, "weight_decay": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], {"momentum": momentum, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update from the parameters' gradients."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            with_gradient = [value for value in group["params"] if value.grad is not None]
            (self._orthogonal_step if group["orthogonal"] else self._adamw_step)(with_gradient, group)

    def _orthogonal_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for value in parameters:
            by_shape.setdefault(value.shape, []).append(value)
        for shape, values in by_shape.items():
            gradients = [value.grad for value in values if value.grad is not None]
            buffers = [self.state[value].setdefault("momentum", torch.zeros_like(value)) for value in values]
            torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
            directions = orthogonal(torch.stack([g.lerp(buffer, group["momentum"]) for g, buffer in zip(gradients, buffers, strict=True)]))
            rate = group["lr"] * RMS * max(shape) ** 0.5
            torch._foreach_mul_(values, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(values, list(directions.unbind()), alpha=-rate)

    def _adamw_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        first_decay, second_decay = group["betas"]
        for value in parameters:
            assert value.grad is not None
            state = self.state[value]
            if not state:
                state |= {"step": torch.zeros(()), "first": torch.zeros_like(value), "second": torch.zeros_like(value)}
            state["step"] += 1
            state["first"].lerp_(value.grad, 1 - first_decay)
            state["second"].lerp_(value.grad.square(), 1 - second_decay)
            count = float(state["step"])
            scale = (state["second"] / (1 - second_decay**count)).sqrt_().add_(1e-8)
            value.addcdiv_(state["first"], scale, value=-group["lr"] / (1 - first_decay**count))


def _is_hidden(name: str, value: Tensor) -> bool:
    return value.ndim == 2 and not any(part in name for part in NOT_HIDDEN)
