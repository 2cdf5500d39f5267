"""Composition: do the effects of two concepts add up?

    interaction = effect(A and B) - effect(A) - effect(B),    effect(X) = score(all) - score(without X)

A and B are the two concepts that contribute most to the slot.

| arm | measure | what |
|---|---|---|
| `top` | `effect_a`, `effect_b`, `effect_both`, `interaction` | the two concepts |
| `matched` | the same | two sets of other concepts, matched in every token type and as long in the code space on each of them |
| `direction` | the same | two random directions, as long on every token |

Null value: where the score is linear in the tokens the interaction is 0 of whatever is edited. A concept space in which concepts compose
has no more of it, for its effects, than edits of the same length have. No bounds.
Source: drift of unions of concept sets at matched norms (sparse visual thought circuits, 2603.25075).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from segcompass.causal.chunk import Chunk, Found
from segcompass.causal.controls import Weighed, direction_like, matched
from segcompass.causal.edits import KINDS, Edit, SampleCodes
from segcompass.causal.tally import Tally
from segcompass.causal.units import ConceptUnits


@torch.no_grad()
def composition(chunk: Chunk, units: ConceptUnits, weights: Sequence[Weighed], tally: Tally) -> Iterator[Found]:
    """Measures of a chunk, of which samples with a single active concept are left out; see `curve` for the arguments."""
    order = [torch.argsort(values, descending=True, stable=True) for values in chunk.gradients]
    pairs = [[Edit.whole(places[number : number + 1]) for places in order] for number in range(2)]
    rows = [weights[sample] for sample in units.owner]
    controls: list[list[Edit]] = [[], []]
    for row, draw in enumerate(chunk.generators(4)):
        own = units.samples[units.owner[row]]
        barred = np.concatenate([pair[row].units.numpy() for pair in pairs])
        for pair, found in zip(pairs, controls, strict=True):
            control = matched(pair[row].units.numpy(), rows[row], draw, barred)
            barred = np.union1d(barred, control.units.numpy())  # the two controls share no concept, as A and B do not
            found.append(as_long(control, pair[row], own))
    for pair, found in zip(pairs, controls, strict=True):
        tally.add("matched", "", rows, pair, found)
    directions = [direction_like(units, pair, chunk.generators(5, number)) for number, pair in enumerate(pairs)]
    arms = {"top": [units.added(pair) for pair in pairs], "matched": [units.added(found) for found in controls], "direction": directions}
    whole = chunk.unedited["score"]
    alone = np.bincount(np.asarray(units.owner), np.asarray(units.counts) < 2) > 0
    for arm, (first, second) in arms.items():
        effects = [np.where(alone, np.nan, whole - _score(chunk, units, added)) for added in (first, second, first + second)]
        for measure, values in zip(("effect_a", "effect_b", "effect_both"), effects, strict=True):
            yield Found(arm, "", measure, values)
        yield Found(arm, "", "interaction", effects[2] - effects[0] - effects[1])


def as_long(control: Edit, edit: Edit, own: SampleCodes) -> Edit:
    """A control whose shares are multiplied, by token type, so that it takes as long a vector from a sample's codes as the edit."""
    share = control.share.clone()
    taken, other = own.codes[:, edit.units] * edit.share, own.codes[:, control.units] * control.share[own.kinds]
    for kind in KINDS.values():
        length = other[own.kinds == kind].norm()
        share[kind] *= taken[own.kinds == kind].norm() / length if length > 0 else 0.0
    return Edit(control.units, share)


def _score(chunk: Chunk, units: ConceptUnits, added: Tensor) -> np.ndarray:
    return chunk.responses(units.with_tokens(units.whole.tokens - added), False)["score"]
