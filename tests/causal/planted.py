"""An interface whose answer is known: the left half of the map is lit by known concepts, by known weights, and by nothing else.

Rows have two columns. `total`: the strength of the map is the sum over tokens of code times weight (column 0), less one half; then a slot's
score is twice the strength, and every concept contributes 2 * code * weight, summed over its tokens. `product`: the strength is the product
of both columns' sums, so that a concept of one column does nothing without one of the other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcompass.backbone.token_types import INSTRUCTION, THOUGHT, VISUAL
from segcompass.causal.chunk import Chunk
from segcompass.causal.controls import Weighed, weighed
from segcompass.causal.edits import SampleCodes, codes_of_samples
from segcompass.causal.units import ConceptUnits
from segcompass.causal.watched import Watched
from segcompass.joint.reading import Shown
from segcompass.sae.sparse_tokens import SparseTokens

FEATURES, SIDE = 40, 4
LEFT = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(SIDE, 1)
TYPES = torch.tensor([VISUAL] * 4 + [INSTRUCTION] * 2 + [THOUGHT] * 3, dtype=torch.uint8)
PLANTED = {3: 1.0, 7: 0.5}
"""Concepts of the world `total` and their weights."""


@dataclass
class PlantedInterface:
    """Stands in for a model and for its interface; one slot."""

    product: bool

    def __post_init__(self) -> None:
        self.interface: Any = self
        self.mapper: Any = self
        self.segmenter: Any = self

    def keys(self, embeddings: Tensor) -> Tensor:
        return embeddings

    def maps(self, shown: Shown, keys: Tensor, which: Tensor | None = None) -> tuple[Tensor, Tensor]:
        del keys, which
        sums = (shown.tokens * shown.read[..., None]).sum(1)
        strength = sums[:, 0] * sums[:, 1] if self.product else sums[:, 0] - 0.5
        return strength[:, None, None, None] * LEFT, strength[:, None]

    def masks(self, heat: Tensor, embeddings: Tensor, valid: Tensor) -> Tensor:
        del embeddings, valid
        return heat

    def to_image(self, logits: Tensor, size: tuple[int, int]) -> np.ndarray:
        del size
        return (logits > 0).numpy()


@dataclass
class World:
    """A chunk of the planted interface with what the interventions take."""

    chunk: Chunk
    units: ConceptUnits
    samples: list[SampleCodes]
    weights: list[Weighed]
    codes: Tensor
    """[n, T, F]."""
    rows: Tensor


def rows_of(weights: dict[int, float], column: int = 0) -> Tensor:
    rows = torch.zeros(FEATURES, 2)
    for concept, weight in weights.items():
        rows[concept, column] = weight
    return rows


def world(codes: Tensor, rows: Tensor, product: bool = False) -> World:
    """Samples with codes [n, T, F] as the interface reads them by its rows."""
    count = len(codes)
    types = TYPES.expand(count, -1)
    samples = codes_of_samples(SparseTokens.of(codes.flatten(0, 1)), types, 0.0)
    tokens = torch.stack([own.codes @ rows[own.concepts] for own in samples])
    everything = torch.ones(count, len(TYPES), dtype=torch.bool)
    shown = Shown(tokens, everything, types == THOUGHT, torch.zeros(count, 1, 1))
    valid = torch.ones(count, SIDE, SIDE, dtype=torch.bool)
    watched = Watched(PlantedInterface(product), torch.zeros(count, 1, 1, 1), valid, [(SIDE, SIDE)] * count)  # type: ignore[arg-type]
    units = ConceptUnits(rows, samples, list(range(count)), watched.fix([[0]] * count, shown))
    targets = [(LEFT > 0).numpy()] * count
    chunk = Chunk(units, watched, targets, [(0, sample) for sample in range(count)])
    # Rows of unread concepts have no length, so masses are taken with rows of one length.
    alike = torch.ones(FEATURES, 1)
    weights = [weighed(own, alike, torch.ones(len(TYPES))) for own in samples]
    return World(chunk, units, samples, weights, codes, rows)


def drawn_codes(count: int, seed: int = 0, share: float = 0.5) -> Tensor:
    """Random codes [n, T, F], of which the planted concepts are active on every token."""
    generator = torch.Generator().manual_seed(seed)
    codes = (0.5 + torch.rand(count, len(TYPES), FEATURES, generator=generator)) * (
        torch.rand(count, len(TYPES), FEATURES, generator=generator) < share
    )
    for concept in PLANTED:
        codes[..., concept] = 0.5 + torch.rand(count, len(TYPES), generator=generator)
    return codes
