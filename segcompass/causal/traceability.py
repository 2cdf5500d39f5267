"""Traceability, the definition of "white-box" (paper 5.5): is the change of a mask under an edit of the listed units what the list says?

Listed are the units that contribute most to a slot, by absolute value. An edit removes some of them; predicted is the sum of their
contributions, observed is score(all) - score(edited). Units are concepts, words or directions of the reference states (units.py), so that
read-outs are compared by one rule.

| arm | at | measure | what |
|---|---|---|---|
| `whole` | | `score`, `mask_score` | before any edit: the scale of tolerances |
| `top` | m | `observed`, `predicted` | the m that contribute most are removed; by gradient times activation |
| `half` | | the same | a random half of the listed |
| both | | `predicted_integrated` | predicted by integrated gradients |
| both | | `predicted_permuted` | predicted by contributions that are permuted over all units: the control |
| both | | `observed_mask`, `predicted_mask` | the same of SAM's mask logits, with contributions through SAM |

The score of mask logits is that of heat maps: how far they stand out inside the mask before the edit. From many edits: `slope` and `r2` of
observed on predicted, 1 where the list tells the truth (segcompass/claims/battery.py), and the share of edits within a tolerance
(segcompass/reporting/calibration.py). Null value: slope, R2 and share of the permuted predictions. Range: R2 to 1, with no lower bound
where predictions are worse than none; share 0 to 1; slope without bounds.
Source: the project's definition; completeness of attributions (Sundararajan et al., 2017); calibration by slope (Cox, 1958).
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from segcompass.causal.chunk import Chunk, Found
from segcompass.causal.edits import Edit


def traceability(chunk: Chunk, listed: int, sizes: Sequence[int], steps: int) -> Iterator[Found]:
    """Measures of a chunk, of units of any kind.

    Args:
        chunk: samples and their slots.
        listed: units of a slot's list.
        sizes: of the sets that are removed.
        steps: of integrated gradients.
    """
    units, watched = chunk.units, chunk.watched
    told = {"predicted": chunk.gradients, "predicted_integrated": chunk.integrated(steps)}
    told["predicted_mask"] = units.contributions(chunk.gradient(1.0, chunk.mask_response))
    draws = chunk.generators(7)
    told["predicted_permuted"] = [
        values[torch.from_numpy(draw.permutation(len(values)))] for values, draw in zip(chunk.gradients, draws, strict=True)
    ]
    lists = [torch.argsort(values.abs(), descending=True, stable=True)[:listed] for values in chunk.gradients]
    edits = {("top", str(size)): [places[:size] for places in lists] for size in sizes}
    halves = [
        places[torch.from_numpy(draw.permutation(len(places))[: len(places) // 2])] for places, draw in zip(lists, draws, strict=True)
    ]
    edits["half", ""] = halves
    before = _scores(chunk, [places[:0] for places in lists])
    for measure, values in zip(("score", "mask_score"), before, strict=True):
        yield Found("whole", "", measure, watched.of_samples(values))
    for (arm, at), chosen in edits.items():
        after = _scores(chunk, chosen)
        for measure, old, new in zip(("observed", "observed_mask"), before, after, strict=True):
            yield Found(arm, at, measure, watched.of_samples(old - new))
        for measure, contributions in told.items():
            sums = torch.stack([values[places].sum() for values, places in zip(contributions, chosen, strict=True)])
            yield Found(arm, at, measure, watched.of_samples(sums))


@torch.no_grad()
def _scores(chunk: Chunk, chosen: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Scores [R] of heat maps and of mask logits once the chosen units of each row are removed."""
    heat = chunk.watched.heat(chunk.units.removed([Edit.whole(places) for places in chosen]))
    return chunk.watched.score(heat), chunk.watched.score(chunk.watched.mask_logits(heat))
