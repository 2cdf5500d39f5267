"""Sham: the identity edit, through the same code as every other edit: every unit goes to its baseline by a share of nothing.

| arm | measure | formula | null value | range |
|---|---|---|---|---|
| `identity` | `score_change` | greatest absolute change of a slot's score | exactly 0 | 0 and above |
| `identity` | `logit_change` | greatest absolute change of a mask logit | exactly 0 | 0 and above |
| `identity` | `iou_change` | change of the IoU of the slots' union with the target | exactly 0 | -1 to 1 |

Source: the sham treatment of an experiment. Anything but 0 is a defect of the battery, or of the processor.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from segcompass.causal.chunk import Chunk, Found
from segcompass.causal.edits import Edit
from segcompass.joint.reading import Shown


@torch.no_grad()
def sham(chunk: Chunk) -> Iterator[Found]:
    """Measures of a chunk, of units of any kind."""
    nothing = [Edit(torch.arange(count), torch.zeros(count)) for count in chunk.units.counts]
    score, logits, iou = _seen(chunk, chunk.units.whole)
    after, after_logits, after_iou = _seen(chunk, chunk.units.removed(nothing))
    yield Found("identity", "", "score_change", chunk.watched.greatest((after - score).abs()))
    yield Found("identity", "", "logit_change", chunk.watched.greatest((after_logits - logits).abs().amax((1, 2))))
    yield Found("identity", "", "iou_change", after_iou - iou)


def _seen(chunk: Chunk, shown: Shown) -> tuple[Tensor, Tensor, np.ndarray]:
    heat = chunk.watched.heat(shown)
    logits = chunk.watched.mask_logits(heat)
    return chunk.watched.score(heat), logits, chunk.ious(logits)
