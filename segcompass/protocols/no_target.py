"""The no-target rule, stated once: what counts as the decision "no target", and what each protocol makes of the four cases.

| truth | decision | IoU | I added | U added |
|---|---|---|---|---|
| no target | no target | 1 | 0 | 0 |
| no target | target | 0 | 0 | predicted pixels |
| target | no target | 0 | 0 | pixels of prediction or truth |
| target | target | I/U | I | U |

`gres` is this table. `gsva` scores a wrong rejection by the pixels that were predicted all the same, so the decision alone is not punished.
The other protocols know no decision: they look at pixels, and an empty prediction on an empty truth has IoU 1. Of `reasonseg_seg_zero` that
is our reading: its peers count such a sample 0 or leave it out (two of ReasonSeg's test files have no polygon), and we drop no sample from
a denominator.
"""

from collections.abc import Sequence

DECIDING = ("gres", "gsva")
"""Protocols that read the decision, and report N-acc and T-acc."""


def confident_slots(confidences: Sequence[float], threshold: float) -> tuple[int, ...]:
    """Slots whose confidence probability reaches the threshold: their union is the prediction.

    None is the explicit decision "no target"; emptiness of pixels plays no part in it.
    """
    return tuple(slot for slot, confidence in enumerate(confidences) if confidence >= threshold)


def counts(protocol: str, intersection: int, union: int, predicted_area: int, no_target: bool, rejected: bool) -> tuple[int, int, float]:
    """(I, U, IoU) of an expression under a protocol's rule.

    Args:
        protocol: a name of `scoring.PROTOCOLS`.
        intersection: pixels in prediction and truth.
        union: pixels in prediction or truth.
        predicted_area: pixels of the prediction.
        no_target: the expression has no target.
        rejected: the prediction decided "no target".
    """
    if protocol in DECIDING and no_target:
        return (0, 0, 1.0) if rejected else (0, predicted_area, 0.0)
    if protocol == "gres" and rejected:
        return 0, union, 0.0
    return intersection, union, intersection / union if union else 1.0
