"""Some samples of a benchmark with all that the interventions ask of them: units that can be edited, and slots that respond.

Shape letters: n samples, R rows (slots of samples), A units of a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segcompass.causal.overlap import iou
from segcompass.causal.units import Units
from segcompass.causal.watched import Watched
from segcompass.joint.reading import Shown

POWER = 4
"""Steps of integrated gradients end at (step / steps) to this power. Layer norms make the score all but blind to the scale of tokens, so
nearly all of it arises near alpha = 0: with 32 equal steps contributions summed up to half a hundredth of what they explain, with 16 of
these to 0.98 of it (an interface of the embedded world, 24 samples)."""


class Found(NamedTuple):
    """A measure of every sample of a chunk; arm, at and measure as in `measurements.py`."""

    arm: str
    at: str
    measure: str
    values: np.ndarray
    """[n], NaN where it is not defined."""


@dataclass(frozen=True)
class Chunk:
    """Samples, their units and their watched slots."""

    units: Units
    watched: Watched
    targets: Sequence[np.ndarray]
    """bool [height, width] of every sample."""
    keys: Sequence[tuple[int, ...]]
    """Of every sample, what its random draws are seeded with; the same for every run of a study."""

    @cached_property
    def score(self) -> Tensor:
        """Scores [R] before any edit."""
        return self.scores(self.units.whole)

    @cached_property
    def unedited(self) -> dict[str, np.ndarray]:
        """Measures [n] before any edit, as `responses` has them."""
        return {"score": self.watched.of_samples(self.score), "iou": self.ious(self.watched.before)}

    @cached_property
    def gradients(self) -> list[Tensor]:
        """Contributions [A] of each row's units to its score, by the gradient where the reading stands: gradient times activation."""
        return self.units.contributions(self.gradient(1.0))

    def gradient(self, alpha: float, response: Callable[[Shown], Tensor] | None = None) -> Tensor:
        """Gradient of the rows' scores, or of another response [R], with respect to the leaf of `Units.path`."""
        with torch.enable_grad():
            leaf, shown = self.units.path(alpha)
            (found,) = torch.autograd.grad((response or self._response)(shown).sum(), leaf)
        return found

    def integrated(self, steps: int) -> list[Tensor]:
        """Contributions [A] of each row's units to its score by integrated gradients, with the midpoints of steps that grow with alpha."""
        ends = [(step / steps) ** POWER for step in range(steps + 1)]
        parts = [(end - start) * self.gradient((start + end) / 2) for start, end in pairwise(ends)]
        return self.units.contributions(torch.stack(parts).sum(0))

    @torch.no_grad()
    def scores(self, shown: Shown) -> Tensor:
        """Scores [R] of what is shown."""
        return self._response(shown)

    def mask_response(self, shown: Shown) -> Tensor:
        """The score [R] of the mask logits themselves, through SAM."""
        return self.watched.score(self.watched.mask_logits(self.watched.heat(shown)))

    @torch.no_grad()
    def responses(self, shown: Shown, masks: bool) -> dict[str, np.ndarray]:
        """Measures [n] of what is shown: `score`, the mean over a sample's slots, and with masks `iou` of their union with the target."""
        heat = self.watched.heat(shown)
        found = {"score": self.watched.of_samples(self.watched.score(heat))}
        if masks:
            found["iou"] = self.ious(self.watched.mask_logits(heat))
        return found

    def ious(self, mask_logits: Tensor) -> np.ndarray:
        """IoU [n] of the union of a sample's masks, of logits [R, m, m], with its target."""
        unions = self.watched.unions(mask_logits)
        return np.array([iou(union, target) for union, target in zip(unions, self.targets, strict=True)])

    def mean(self, values: Sequence[float]) -> np.ndarray:
        """Means [n] over each sample's rows of values [R], of those that are defined; NaN where none is."""
        known = np.isfinite(values)
        owner, count = self.watched.owner.cpu().numpy(), len(self.targets)
        sums = np.bincount(owner, np.where(known, values, 0.0), count)
        counts = np.bincount(owner, known, count)
        return np.divide(sums, counts, out=np.full(count, np.nan), where=counts > 0)

    def generators(self, *keys: int) -> list[np.random.Generator]:
        """A generator for each row."""
        rows = zip(self.watched.owner.tolist(), self.watched.slot.tolist(), strict=True)
        return [np.random.default_rng([*self.keys[sample], slot, *keys]) for sample, slot in rows]

    def _response(self, shown: Shown) -> Tensor:
        return self.watched.score(self.watched.heat(shown))
