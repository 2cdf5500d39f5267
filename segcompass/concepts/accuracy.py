"""Concept quality beside mask accuracy, an expression a row: what the correlation of the two is made of (Figure 8)."""

import pandas as pd

PAIRS = (
    ("heat_iou", "iou", ""),
    ("sae_mse", "dice_loss", "random_sae_mse"),
    ("coverage", "iou", "random_coverage"),
)
"""Concept quality, mask accuracy, and the same quality from the untrained dictionary."""
GIVEN = ("truth_area", "n_targets", "text_length", "thought_correct")
"""What the partial correlation holds fixed; columns that are unknown throughout are left out."""


POINT = (
    *("variant", "seed", "benchmark", "split", "sample_id", "image", "iou", "dice_loss"),
    *(name for quality, _, control in PAIRS for name in (quality, control) if name),
    *GIVEN,
)
"""Columns of what is correlated."""


def accuracy_points(records: pd.DataFrame) -> pd.DataFrame:
    """Records of expressions that have a target, for without one concept quality is not defined, with the Dice loss of the mask."""
    found = records[records["truth_area"] > 0].copy()
    found["dice_loss"] = 1 - 2 * found["intersection"] / (found["truth_area"] + found["predicted_area"])
    return found
