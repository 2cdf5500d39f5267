"""The learning-rate schedule of every training stage: linear warm-up, then cosine decay to a share of the peak."""

import math


def rate_factor(step: int, steps: int, warmup_fraction: float, final_fraction: float) -> float:
    """Factor on the peak learning rate at `step` (from 0) of `steps`."""
    warmup = max(1, round(steps * warmup_fraction))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))
