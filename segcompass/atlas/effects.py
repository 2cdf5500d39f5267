"""What a concept does in a trained interface, alone: it is removed, or scaled, in samples in which it is active, and nothing else is.

An effect is exact: the interface reads the edited codes; no gradient is used. Of every slot that leads in a sample it is the fall of the
slot's score (`causal.watched.slot_score`), and the mean absolute change of the mask's probabilities over the image. Removing every concept
everywhere costs hours, so gradients say which concepts are measured: those with the greatest mean absolute contribution over the samples.
Each of these is removed in all samples in which it is active, so that no sample is chosen by what happens in it. Figures are means over
samples with percentile intervals from resampled images. One run is measured, so intervals do not cover what another seed would change.
Null value 0: a concept that does nothing moves no score.

Shape letters: R rows (slots of samples), A active concepts of a sample, F concepts, B draws.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcompass.atlas.observed import Observed
from segcompass.causal.edits import KINDS, Edit
from segcompass.stats.draws import ClusterDraws
from segcompass.study.analysis import BootstrapSettings

FEWEST_IMAGES = 8
"""With fewer a percentile interval is far too short, and none is given."""


def mean_contributions(observed: Sequence[Observed], features: int) -> np.ndarray:
    """Mean over slots [F] of the absolute contribution by the gradient where the reading stands; 0 where a concept is not active."""
    sums, rows = np.zeros(features), 0
    for part in observed:
        for sample, values in zip(part.units.owner, part.chunk.gradients, strict=True):
            sums[part.codes[sample].concepts.cpu().numpy()] += values.detach().abs().double().cpu().numpy()
            rows += 1
    return sums / max(1, rows)


@torch.no_grad()
def removed_alone(observed: Observed, concepts: np.ndarray, doses: Sequence[float]) -> Iterator[dict[str, np.ndarray]]:
    """Measures of some concepts in every sample in which they are active, one at a time.

    Args:
        observed: samples.
        concepts: numbers.
        doses: factors on the concept's codes.

    Yields:
        For the samples that have one more of the concepts: `sample` and `concept` [n], `fall`, `change`, `fall_<kind of token>` (removed
        there alone) and `dose_<dose>` (rise of the score over that of the unedited sample), means over the sample's slots [n].
    """
    units, watched, chunk = observed.units, observed.watched, observed.chunk
    before, score, whole = watched.before.sigmoid(), chunk.score, units.whole.tokens
    kinds = torch.stack([observed.codes[sample].kinds for sample in units.owner])
    active = [own.concepts.cpu().numpy() for own in observed.codes]
    places = [np.flatnonzero(np.isin(own, concepts)) for own in active]
    for number in range(max(map(len, places), default=0)):
        has = np.array([sample for sample, own in enumerate(places) if len(own) > number])
        added = units.added([Edit.whole(places[sample][number : number + 1].tolist()) for sample in units.owner])

        def fall(tokens: Tensor) -> np.ndarray:
            return watched.of_samples(score - chunk.scores(units.with_tokens(tokens)))

        heat = watched.heat(units.with_tokens(whole - added))
        moved = (watched.mask_logits(heat).sigmoid() - before).abs() * watched.valid
        found = {
            "fall": watched.of_samples(score - watched.score(heat)),
            "change": watched.of_samples(moved.sum((1, 2)) / watched.valid.sum((1, 2))),
        }
        for kind, value in KINDS.items():
            found[f"fall_{kind}"] = fall(whole - added * (kinds == value)[..., None])
        for dose in doses:
            found[f"dose_{dose:g}"] = -fall(whole - (1.0 - dose) * added)
        concept = np.array([active[sample][places[sample][number]] for sample in has])
        yield {"sample": has, "concept": concept} | {name: values[has] for name, values in found.items()}


@dataclass
class Effects:
    """Sums over images of each concept's measures."""

    features: int
    images: dict[str, int] = field(default_factory=dict)
    _rows: list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]] = field(default_factory=list)

    def add(self, observed: Observed, concepts: np.ndarray, doses: Sequence[float]) -> None:
        """Measures the concepts in some samples."""
        image = np.array([self.images.setdefault(sample.image, len(self.images)) for _, _, sample in observed.places])
        for found in removed_alone(observed, concepts, doses):
            rest = {name: values for name, values in found.items() if name not in ("sample", "concept")}
            self._rows.append((image[found["sample"]], found["concept"], rest))

    def table(self, bootstrap: BootstrapSettings) -> dict[int, dict[str, Any]]:
        """Concept -> `samples`, `images`, and of every measure [mean, low, high]; the ends None where there are too few images.

        A concept that was active in no sample is left out.
        """
        if not self._rows:
            return {}
        image, concept = (np.concatenate([row[part] for row in self._rows]) for part in (0, 1))
        place = image * self.features + concept
        shape = len(self.images), self.features

        def sums(values: np.ndarray | None) -> np.ndarray:
            return np.bincount(place, values, shape[0] * shape[1]).reshape(shape)

        draws = ClusterDraws(len(self.images), bootstrap.samples, bootstrap.seed).multiplicity
        counts = sums(None).astype(float)
        drawn = draws @ counts
        samples, images = counts.sum(0).astype(int), (counts > 0).sum(0)
        found: dict[int, dict[str, Any]] = {
            int(number): {"samples": int(samples[number]), "images": int(images[number])} for number in np.flatnonzero(samples)
        }
        for name in self._rows[0][2]:
            totals = sums(np.concatenate([row[2][name] for row in self._rows]))
            of_draws = np.divide(draws @ totals, drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0)
            tail = 50 * (1 - bootstrap.level)
            for number, row in found.items():
                known = of_draws[np.isfinite(of_draws[:, number]), number]
                ends = np.percentile(known, [tail, 100 - tail]).tolist() if row["images"] >= FEWEST_IMAGES else [None, None]
                row[name] = [float(totals[:, number].sum() / samples[number]), *ends]
        return found
