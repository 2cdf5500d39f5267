"""Necessity and sufficiency as one curve: the strongest concepts of a slot are all that is kept, or all that is removed.

    f(m) = (score(m) - score(none)) / (score(all) - score(none))

of the m concepts that contribute most to the slot, m a fraction of the sample's active concepts; `none` has every concept at the baseline
(zero, mean, resample: edits.py). A curve is formed from means over samples, because a single sample's denominator may be near 0.

| arm | at | measure | what |
|---|---|---|---|
| `all`, `none_<ablation>` | | `score`, `iou` | nothing is edited (stands under `zero`); everything is |
| `top_<ablation>` | fraction | `kept_score`, `removed_score`, `kept_iou`, `removed_iou` | the strongest concepts |
| `matched_<ablation>` | fraction | the same | as much of other concepts in every token type (controls.py) |
| `direction_<ablation>` | fraction | `removed_score`, `removed_iou` | a random direction, as long on every token |

Null value: of concepts that do nothing beyond their share, f of `top` is that of `matched`: their difference is 0. CPR, the area under f,
is 0 where nothing that is kept helps and 1 where the first concept is enough; CMD, the area of |1 - f|, is 0 at best. Both have no bounds,
as f has none. Source: MIB (Mueller et al., 2025), whose areas these are; there f is of circuits, here of concepts, and removing is added.
"""

from collections.abc import Iterator, Sequence

import torch

from segcompass.causal.chunk import Chunk, Found
from segcompass.causal.controls import Weighed, direction_like, matched
from segcompass.causal.edits import Baseline, Edit
from segcompass.causal.tally import Tally
from segcompass.causal.units import ConceptUnits


def curve(
    chunk: Chunk,
    units: ConceptUnits,
    weights: Sequence[Weighed],
    ablation: str,
    baseline: Baseline,
    fractions: Sequence[float],
    masks: Sequence[float],
    tally: Tally,
) -> Iterator[Found]:
    """Measures of a chunk.

    Args:
        chunk: samples and their slots.
        units: of the chunk.
        weights: what the concepts of each sample weigh.
        ablation: name of the baseline.
        baseline: of the chunk.
        fractions: of the active concepts.
        masks: the fractions at which masks are decoded.
        tally: counts what edits and controls touch.
    """
    with torch.no_grad():
        nothing, whole = units.nothing(baseline), units.whole.tokens
        ends = {f"none_{ablation}": chunk.responses(units.with_tokens(nothing), bool(masks))}
        if ablation == "zero":
            ends["all"] = chunk.unedited
        for arm, measures in ends.items():
            yield from (Found(arm, "", measure, values) for measure, values in measures.items())
        order = [torch.argsort(values, descending=True, stable=True) for values in chunk.gradients]
        for number, fraction in enumerate(fractions):
            at, seen = f"{fraction:g}", fraction in masks
            top = [Edit.whole(places[: size(fraction, len(places))]) for places in order]
            draws = chunk.generators(1, number)
            control = [
                matched(edit.units.numpy(), weights[sample], draw) for edit, sample, draw in zip(top, units.owner, draws, strict=True)
            ]
            tally.add(f"matched_{ablation}", at, [weights[sample] for sample in units.owner], top, control)
            for arm, edits in (("top", top), ("matched", control)):
                added = units.added(edits, baseline)
                for name, tokens in (("kept", nothing + added), ("removed", whole - added)):
                    for measure, values in chunk.responses(units.with_tokens(tokens), seen).items():
                        yield Found(f"{arm}_{ablation}", at, f"{name}_{measure}", values)
            tokens = whole - direction_like(units, top, chunk.generators(2, number), baseline)
            for measure, values in chunk.responses(units.with_tokens(tokens), seen).items():
                yield Found(f"direction_{ablation}", at, f"removed_{measure}", values)


def size(fraction: float, active: int) -> int:
    """m: the fraction of the active concepts, rounded, at least one of them."""
    return min(active, max(1, round(fraction * active)))
