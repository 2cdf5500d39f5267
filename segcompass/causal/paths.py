"""Paths: how much of a mask each road into the interface carries, by a 2^4 factorial with Shapley values.

The roads: codes of visual tokens, of the instruction, of the thought, and the reference states r_k, which go around the dictionary. In each
of the 16 cells every road has what the sample's own run gives, or what the run of another image gives (donors.py); the picture that SAM
sees is always the own one. Blocks of another length take the place of the own ones as they are, since an interface reads a bag of typed
tokens.

Arm `resample`; `at` is the path, or for `cell` the roads that are the sample's own, joined by `_`; `none` where all are the donor's.
Measures, of the mask of the slots that were fixed before:
* `cell`: IoU with the target.
* `shapley`: the path's Shapley value (shapley.py) of that IoU; `total`, IoU of all own less that of all donors', is the sum of the four.
* `shapley_score`, `total_score`: the same of the slots' score, the heat maps' contrast inside and outside their own mask.
A path's share is the mean of `shapley` over the mean of `total`: shares add up to 100 %, each may be below 0 or above 1. Null value 0.
Arm `identity`: all roads own, once more; its `total` and `total_score` are exactly 0. Source: Shapley values of paths as in Janzing et al.,
"Feature relevance quantification in explainable AI: a causal problem" (2020): what is left out is resampled, not conditioned on.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tqdm import tqdm

from segcompass.causal.cached_runs import CachedRuns
from segcompass.causal.donors import Donors
from segcompass.causal.measurements import PATHS, Measurement
from segcompass.causal.overlap import iou
from segcompass.causal.response import Responding
from segcompass.causal.shapley import shapley
from segcompass.causal.token_pool import Answers
from segcompass.datasets.masks import decode
from segcompass.datasets.samples import Sample
from segcompass.joint.reading import Reading

CELLS = 2 ** len(PATHS)
"""Bit i of a cell's number says that the i-th path is the sample's own."""
ALL = CELLS - 1


def cell_name(cell: int) -> str:
    """The roads that are the sample's own."""
    return "_".join(name for bit, name in enumerate(PATHS) if cell >> bit & 1) or "none"


def cell_reading(answers: Answers, cell: int) -> Reading:
    """What n samples are shown in one cell, from 2 n answers: a sample's own, then its donor's, and so on."""
    layouts, sources = [], []
    for own in range(0, len(answers.blocks), 2):
        mine = [own + (not cell >> bit & 1) for bit in range(len(PATHS))]
        layouts.append(torch.cat([answers.blocks[source][kind] for kind, source in enumerate(mine[:3])]))
        sources.append(mine[3])
    return answers.pool.reading(layouts, answers.reference_states[sources])


def path_shares(
    runs: CachedRuns, responding: Responding, place: tuple[str, str], samples: Sequence[Sample], donors: Donors, size: int
) -> Iterator[Measurement]:
    """Measures of some samples of a split; arguments as those of `thought_swaps`. Samples without another image have none."""
    given = [(sample, donor) for sample in samples if (donor := donors.of(sample, "other_image"))]
    for start in tqdm(range(0, len(given), size), desc=f"paths {' '.join(place)}", disable=None):
        yield from _factorial(runs, responding, place, given[start : start + size])


def _factorial(
    runs: CachedRuns, responding: Responding, place: tuple[str, str], given: Sequence[tuple[Sample, Sample]]
) -> Iterator[Measurement]:
    answers = runs.answers([(*place, sample.sample_id) for both in given for sample in both])
    samples = [sample for sample, _ in given]
    targets, pictures = [decode(sample.target) for sample in samples], runs.pictures(samples)

    before = responding.to(cell_reading(answers, ALL), pictures)
    overlaps, scores = np.zeros((len(samples), CELLS)), np.zeros((len(samples), CELLS))
    for cell in range(CELLS):
        found = before if cell == ALL else responding.to(cell_reading(answers, cell), pictures, before.slots)
        overlaps[:, cell] = [iou(mask, target) for mask, target in zip(found.masks, targets, strict=True)]
        scores[:, cell] = found.scores
    again = responding.to(cell_reading(answers, ALL), pictures, before.slots)
    for index, sample in enumerate(samples):

        def row(arm: str, at: str, measure: str, value: float, sample: Sample = sample) -> Measurement:
            return Measurement("paths", arm, at, measure, *place, sample.sample_id, sample.image, value)

        for cell in range(CELLS):
            yield row("resample", cell_name(cell), "cell", overlaps[index, cell])
        for measure, values in (("", overlaps[index]), ("_score", scores[index])):
            for path, share in zip(PATHS, shapley(values), strict=True):
                yield row("resample", path, f"shapley{measure}", float(share))
            yield row("resample", "", f"total{measure}", float(values[ALL] - values[0]))
        yield row("identity", "", "total", iou(again.masks[index], targets[index]) - overlaps[index, ALL])
        yield row("identity", "", "total_score", float(again.scores[index] - scores[index, ALL]))
