"""Held-out quality of a dictionary, streamed: memory does not grow with the number of tokens."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from segcompass.activations.typed_sample import TypedSample
from segcompass.backbone.interface import INSTRUCTION, THOUGHT, VISUAL
from segcompass.sae.dictionary import Dictionary

TOKEN_TYPES = {"all": None, "visual": VISUAL, "instruction": INSTRUCTION, "thought": THOUGHT}
BLOCK_TOKENS = 2048
"""Tokens encoded at one time."""


@dataclass
class _Sums:
    """Sums over tokens, float64; deviations are taken from a fixed point near the mean, so that squares do not swamp them."""

    tokens: int = 0
    error: float = 0.0
    active: float = 0.0
    squares: float = 0.0
    deviation: Tensor | None = None
    used: Tensor | None = field(default=None)

    def add(self, x: Tensor, origin: Tensor, z: Tensor, reconstruction: Tensor) -> None:
        away = (x - origin).double()
        self.tokens += len(x)
        self.error += float((x - reconstruction).double().square().sum())
        self.active += float((z != 0).sum())
        self.squares += float(away.square().sum())
        self.deviation = away.sum(0) if self.deviation is None else self.deviation + away.sum(0)
        used = (z != 0).any(0)
        self.used = used if self.used is None else self.used | used

    def metrics(self) -> dict[str, float]:
        if self.deviation is None or self.used is None:
            raise ValueError("no token was added")
        spread = self.squares - float(self.deviation.square().sum()) / self.tokens
        explained = {"explained_variance": 1 - self.error / spread} if spread > 0 else {}
        return explained | {
            "tokens": float(self.tokens),
            "mse": self.error / self.tokens,
            "l0": self.active / self.tokens,
            "dead_fraction": float((~self.used).float().mean()),
        }


@torch.no_grad()
def l0_by_type(dictionary: Dictionary, sample: TypedSample) -> dict[int, float]:
    """Mean number of active concepts of each token type."""
    active = torch.cat([(dictionary.encode(part) != 0).sum(1) for part in sample.hidden.split(BLOCK_TOKENS)]).float()
    return {kind: float(active[sample.types == kind].mean()) for kind in sample.shares}


@torch.no_grad()
def held_out_metrics(dictionary: Dictionary, held_out: Iterable[dict[str, Tensor]]) -> dict[str, dict[str, float]]:
    """Explained variance, squared error, L0 and dead fraction, for all tokens and per token type.

    Explained variance is 1 - sum of squared errors / sum of squared deviations from the mean of the same tokens; the dead fraction is the
    share of concepts that no token activates. Tokens that are all alike have no deviations, and no explained variance.

    Args:
        dictionary: reads raw activations, on its own device.
        held_out: parts with `hidden` [n, d] and `token_type` [n].
    """
    sums = {name: _Sums() for name in TOKEN_TYPES}
    origin: Tensor | None = None
    for part in held_out:
        for x, types in zip(part["hidden"].split(BLOCK_TOKENS), part["token_type"].split(BLOCK_TOKENS), strict=True):
            x, types = x.to(dictionary.b_dec.device), types.to(dictionary.b_dec.device)
            origin = x.mean(0) if origin is None else origin
            z = dictionary.encode(x)
            reconstruction = dictionary.decode(z)
            for name, number in TOKEN_TYPES.items():
                own = torch.ones(len(x), dtype=torch.bool, device=x.device) if number is None else types == number
                if own.any():
                    sums[name].add(x[own], origin, z[own], reconstruction[own])
    return {name: own.metrics() for name, own in sums.items() if own.tokens}
