"""Attribution against truth: do contributions rank concepts as removing each of them alone does?

Gold: for every active concept of a slot, score(all) - score(without it), exactly, and the mean change of the mask's probabilities over the
image. Where more concepts are active than the study asks for, as many are drawn.

| arm | measure | formula | null value | range |
|---|---|---|---|---|
| `gradient`, `integrated` | `rank_correlation` | Spearman of contributions and gold | 0 | -1 to 1 |
| `permuted` | `rank_correlation` | the same of the gradient's contributions, permuted over the concepts | 0 | -1 to 1 |
| all three | `rank_correlation_mask` | Spearman of absolute contributions and the change of the mask | 0 | -1 to 1 |
| `gradient`, `integrated` | `total` | sum of all contributions | | |
| | `difference` | score(all) - score(none), what a complete attribution adds up to | | |
| | `completeness_residual` | abs(total - difference) / abs(difference) | 1 where contributions are 0 | 0 and above |

Contributions: gradient times activation, and integrated gradients (Sundararajan et al., 2017) from zero codes by the midpoint rule, with
steps that are short where codes are small (chunk.py); with 10 left end-points, as in sparse feature circuits (Marks et al., 2024), they are
not complete. Of a score that is blind to the scale of codes the sum of gradient times activation is 0 whatever the concepts add (Euler):
these contributions say which concepts matter more than others, and no residual of theirs can be small. Measures are means over a sample's
slots.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from segcompass.causal.chunk import Chunk, Found
from segcompass.causal.edits import Edit
from segcompass.causal.estimands import spearman
from segcompass.causal.units import ConceptUnits


def attribution(chunk: Chunk, units: ConceptUnits, ablated: int, steps: int, masks: bool) -> Iterator[Found]:
    """Measures of a chunk.

    Args:
        chunk: samples and their slots.
        units: of the chunk.
        ablated: at most so many concepts of a slot are removed alone.
        steps: of integrated gradients.
        masks: whether the change of the mask is measured.
    """
    draws = chunk.generators(6)
    places = [np.sort(draw.choice(count, min(ablated, count), replace=False)) for draw, count in zip(draws, units.counts, strict=True)]
    scores, changes = ablated_alone(chunk, units, places, masks)
    contributions = {"gradient": chunk.gradients, "integrated": chunk.integrated(steps)}
    contributions["permuted"] = [
        values[torch.from_numpy(draw.permutation(len(values)))] for values, draw in zip(chunk.gradients, draws, strict=True)
    ]
    nothing = chunk.scores(units.with_tokens(units.nothing()))
    for arm, found in contributions.items():
        mine = [values.double().cpu().numpy()[own] for values, own in zip(found, places, strict=True)]
        yield Found(arm, "", "rank_correlation", chunk.mean([spearman(*pair) for pair in zip(mine, scores, strict=True)]))
        if masks:
            ranked = [spearman(abs(values), change) for values, change in zip(mine, changes, strict=True)]
            yield Found(arm, "", "rank_correlation_mask", chunk.mean(ranked))
        if arm != "permuted":
            total, difference = torch.stack([values.sum() for values in found]), chunk.score - nothing
            yield Found(arm, "", "total", chunk.watched.of_samples(total))
            yield Found(arm, "", "difference", chunk.watched.of_samples(difference))
            residual = torch.where(difference == 0, torch.nan, (total - difference).abs() / difference.abs())
            yield Found(arm, "", "completeness_residual", chunk.watched.of_samples(residual))


@torch.no_grad()
def ablated_alone(chunk: Chunk, units: ConceptUnits, places: list[np.ndarray], masks: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Gold of each row's concepts at `places`: falls of the score, and mean changes of the mask's probabilities (empty without masks)."""
    watched = chunk.watched
    falls: list[Tensor] = []
    changes: list[Tensor] = []
    before = watched.mask_logits(watched.heat(units.whole)).sigmoid() if masks else None
    for number in range(max(map(len, places))):
        heat = watched.heat(units.removed([Edit.whole(own[number : number + 1].tolist()) for own in places]))
        falls.append(chunk.score - watched.score(heat))
        if before is not None:
            moved = (watched.mask_logits(heat).sigmoid() - before).abs() * watched.valid
            changes.append(moved.sum((1, 2)) / watched.valid.sum((1, 2)))

    def by_row(values: list[Tensor]) -> list[np.ndarray]:
        if not values:
            return [np.empty(0)] * len(places)
        table = torch.stack(values, 1).double().cpu().numpy()
        return [row[: len(own)] for row, own in zip(table, places, strict=True)]

    return by_row(falls), by_row(changes)
