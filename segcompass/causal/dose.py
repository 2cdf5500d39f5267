"""Dose and response: a slot's leading concepts at 0 to 3 times their codes.

| arm | at | measure | formula |
|---|---|---|---|
| `top`, `matched` | dose | `score` | mean score of the slots with the concepts' codes times the dose |
| `top`, `matched` | | `monotone` | 1 where the score never falls from a dose to the next and ends above its beginning, else 0 |
| `top`, `matched` | | `rise` | score at the greatest dose less score at the least |

`top` are the concepts that contribute most to the slot, `matched` as much of others in every token type (controls.py). Null value: of
concepts that do nothing `monotone` and `rise` are 0; of others that happen to matter the sign is as often wrong as right. Range of
`monotone`: 0 to 1. Source: dose and response as a criterion of cause (Hill, 1965); features times a factor (Templeton et al., 2024).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from segcompass.causal.chunk import Chunk, Found
from segcompass.causal.controls import Weighed, matched
from segcompass.causal.edits import Edit
from segcompass.causal.estimands import monotone
from segcompass.causal.tally import Tally
from segcompass.causal.units import ConceptUnits


def dose(
    chunk: Chunk, units: ConceptUnits, weights: Sequence[Weighed], concepts: int, doses: Sequence[float], tally: Tally
) -> Iterator[Found]:
    """Measures of a chunk at ascending doses; see `curve` for the other arguments."""
    top = [Edit.whole(torch.argsort(values, descending=True, stable=True)[:concepts]) for values in chunk.gradients]
    draws = chunk.generators(3)
    control = [matched(edit.units.numpy(), weights[sample], draw) for edit, sample, draw in zip(top, units.owner, draws, strict=True)]
    tally.add("matched", "", [weights[sample] for sample in units.owner], top, control)
    with torch.no_grad():
        for arm, edits in (("top", top), ("matched", control)):
            added = units.added(edits)
            scores = []
            for factor in doses:
                shown = units.with_tokens(units.whole.tokens - (1.0 - factor) * added)
                scores.append(chunk.unedited["score"] if factor == 1 else chunk.responses(shown, False)["score"])
                yield Found(arm, f"{factor:g}", "score", scores[-1])
            yield Found(arm, "", "monotone", monotone(np.stack(scores)))
            yield Found(arm, "", "rise", scores[-1] - scores[0])
