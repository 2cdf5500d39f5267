"""What a record says of one prediction: the sample's own facts, scores under every convention, and two oracles that use the truth.

`oracle` picks the slots that match the objects best, as the release's evaluation does; `oracle_thought` keeps the run's own slots and
confidences and gives it the gold thought to read.
"""

from typing import Any

import numpy as np
import torch

from segcompass.datasets.masks import Rle, decode, encode
from segcompass.datasets.samples import Sample
from segcompass.joint.inference import Prediction
from segcompass.joint.matching import match
from segcompass.joint.rewards import hard_iou
from segcompass.protocols.scoring import HEADLINE, SampleScore, score_sample

Row = dict[str, Any]


def sample_columns(sample: Sample) -> Row:
    """What the manifest says of a sample."""
    return {
        "sample_id": sample.sample_id,
        "image": sample.image,
        "text": sample.text,
        "no_target": sample.no_target,
        "n_targets": len(sample.instances),
        "text_length": len(sample.text.split()),
        "height": sample.height,
        "width": sample.width,
    }


def headline_score(benchmark: str, sample: Sample, prediction: Prediction) -> SampleScore:
    """A prediction's score under the benchmark's headline protocol."""
    return _score(HEADLINE[benchmark], sample, encode(prediction.mask), prediction.no_target)


def score_columns(benchmark: str, sample: Sample, prediction: Prediction, mask: Rle) -> Row:
    """Headline score and the Seg-Zero convention."""
    headline = _score(HEADLINE[benchmark], sample, mask, prediction.no_target)
    other = _score("reasonseg_seg_zero", sample, mask, prediction.no_target) if benchmark == "reasonseg" else headline
    return {
        "intersection": headline.intersection,
        "union": headline.union,
        "iou": headline.iou,
        "truth_area": headline.truth_area,
        "predicted_area": headline.predicted_area,
        "ignore_area": int(decode(sample.ignore).sum()) if sample.ignore else 0,
        "seg_zero_intersection": other.intersection,
        "seg_zero_union": other.union,
        "seg_zero_iou": other.iou,
    }


def oracle_slot_columns(benchmark: str, sample: Sample, prediction: Prediction | None) -> Row:
    """Headline score of the slots that the truth would pick; empty cells without a target, and without a prediction of all slots."""
    if prediction is None or sample.no_target:
        return dict.fromkeys(("oracle_intersection", "oracle_union", "oracle_iou"), "")
    oracle = _score(HEADLINE[benchmark], sample, encode(oracle_mask(prediction, sample)), False)
    return {"oracle_intersection": oracle.intersection, "oracle_union": oracle.union, "oracle_iou": oracle.iou}


def oracle_thought_columns(benchmark: str, sample: Sample, prediction: Prediction | None) -> Row:
    """Headline score of what the gold thought leads to; empty cells without such a prediction."""
    names = ("intersection", "union", "iou", "predicted_no_target")
    if prediction is None:
        return {f"oracle_thought_{name}": "" for name in names}
    found = headline_score(benchmark, sample, prediction)
    values = (found.intersection, found.union, found.iou, int(prediction.no_target))
    return {f"oracle_thought_{name}": value for name, value in zip(names, values, strict=True)}


def oracle_mask(prediction: Prediction, sample: Sample) -> np.ndarray:
    """Union of the slots that match the objects best, bool [height, width]: the release's evaluation, which uses the truth."""
    if not sample.instances:
        return np.zeros(prediction.masks.shape[1:], bool)
    objects = np.stack([decode(rle) for rle in sample.instances])
    iou = hard_iou(torch.from_numpy(prediction.masks), torch.from_numpy(objects)).numpy()
    return np.asarray(prediction.masks[[slot for slot, _ in match(iou)]].any(0))


def _score(protocol: str, sample: Sample, predicted: Rle, no_target: bool) -> SampleScore:
    return score_sample(protocol, sample.target, sample.ignore, sample.no_target, predicted, no_target)
