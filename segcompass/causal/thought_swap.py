"""Thought swap: the codes of a sample's whole thought are those of another sample; image, instruction and reference states stay.

Arms (donors.py draws whose thought it is):
* `other_target`: that of an expression about the same image with another target. The mask should move to that target.
* `same_target`: that of another expression with the same target. The mask should stay.
* `other_image`: that of an expression about another image, which names nothing in particular here.
* `identity`: its own, laid out anew; the sham.
* `ceiling`: nothing is swapped; the mask that the donor of `other_target` has unedited.

A thought moves as a block of tokens with their words, which `text_readout` reads; prompts of any length go with thoughts of any length.
Measures: `moved` (`other_target`, `identity`, `ceiling`): 1 where the mask of the slots that were fixed before has a greater IoU with the
donor's target than with the own one, else 0; null value: that of `identity`. `moved_iou`: IoU with the donor's target after less before,
-1 to 1, null value 0; divide its mean by that of `ceiling`. `iou_change` (all but `ceiling`): IoU with the own target after less before,
null value 0. Targets of donors have no pixel in common with the own one. Source: ours; interchange interventions (Geiger et al., "Causal
abstractions of neural networks", 2021) on the thought.
"""

from collections.abc import Iterator, Sequence

import torch
from tqdm import tqdm

from segcompass.causal.cached_runs import CachedRuns
from segcompass.causal.donors import Donors
from segcompass.causal.measurements import Measurement
from segcompass.causal.overlap import iou
from segcompass.causal.response import Responding
from segcompass.datasets.masks import decode
from segcompass.datasets.samples import Sample

ARMS = ("other_target", "same_target", "other_image")


def thought_swaps(
    runs: CachedRuns, responding: Responding, place: tuple[str, str], samples: Sequence[Sample], donors: Donors, size: int
) -> Iterator[Measurement]:
    """Measures of some samples of a split.

    Args:
        runs: cached answers and images of the split.
        responding: the interface.
        place: benchmark and split.
        samples: that have a target.
        donors: of the split.
        size: samples at a time.
    """
    for start in tqdm(range(0, len(samples), size), desc=f"thoughts {' '.join(place)}", disable=None):
        yield from _swapped(runs, responding, place, samples[start : start + size], donors)


def _swapped(
    runs: CachedRuns, responding: Responding, place: tuple[str, str], samples: Sequence[Sample], donors: Donors
) -> Iterator[Measurement]:
    given = {arm: [donors.of(sample, arm) for sample in samples] for arm in ARMS}
    needed = {sample.sample_id for sample in [*samples, *(donor for of in given.values() for donor in of if donor)]}
    numbers = {sample_id: number for number, sample_id in enumerate(sorted(needed))}
    answers = runs.answers([(*place, sample_id) for sample_id in numbers])
    own = [numbers[sample.sample_id] for sample in samples]
    references, pictures = answers.reference_states[own], runs.pictures(samples)
    targets = [decode(sample.target) for sample in samples]
    others = [decode((donor or sample).target) for donor, sample in zip(given["other_target"], samples, strict=True)]
    before = responding.to(answers.pool.reading([answers.blocks[number].layout for number in own], references), pictures)

    def row(index: int, arm: str, measure: str, value: float) -> Measurement:
        sample = samples[index]
        return Measurement("thought_swap", arm, "", measure, *place, sample.sample_id, sample.image, value)

    for arm in ("identity", *ARMS):
        thoughts = [sample if arm == "identity" else donor for sample, donor in zip(samples, given.get(arm, samples), strict=True)]
        layouts = [
            torch.cat([*answers.blocks[number][:2], answers.blocks[numbers[donor.sample_id] if donor else number].thought])
            for number, donor in zip(own, thoughts, strict=True)
        ]
        masks = responding.to(answers.pool.reading(layouts, references), pictures, before.slots).masks
        for index, (mask, donor) in enumerate(zip(masks, thoughts, strict=True)):
            if donor is None:
                continue
            target, was = targets[index], before.masks[index]
            yield row(index, arm, "iou_change", iou(mask, target) - iou(was, target))
            if arm in ("identity", "other_target") and given["other_target"][index]:
                other = others[index]
                yield row(index, arm, "moved", float(iou(mask, other) > iou(mask, target)))
                yield row(index, arm, "moved_iou", iou(mask, other) - iou(was, other))
    there = [numbers[(donor or sample).sample_id] for donor, sample in zip(given["other_target"], samples, strict=True)]
    unedited = answers.pool.reading([answers.blocks[number].layout for number in there], answers.reference_states[there])
    for index, mask in enumerate(responding.to(unedited, pictures).masks):
        if given["other_target"][index]:
            target, other = targets[index], others[index]
            yield row(index, "ceiling", "moved", float(iou(mask, other) > iou(mask, target)))
            yield row(index, "ceiling", "moved_iou", iou(mask, other) - iou(before.masks[index], other))
