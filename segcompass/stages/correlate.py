"""Correlates concept quality with mask accuracy over samples (Figure 8), beside untrained and shuffled controls.

Expressions without a target are left out: concept quality is not defined for them.
"""

from typing import Any

import numpy as np
import pandas as pd

from segcompass.protocols.records import read_runs
from segcompass.provenance.stage import Stage, run_stage
from segcompass.stats.correlation import estimates, null_twin
from segcompass.stats.families import holm

FLAGS = {"evaluate": "artefacts of evaluate_interface and evaluate_joint whose records are correlated"}
PAIRS = (
    ("heat_iou", "iou", ""),
    ("sae_mse", "dice_loss", "random_sae_mse"),
    ("coverage", "iou", "random_coverage"),
)
"""Concept quality, mask accuracy, and the same quality from the untrained dictionary."""
GIVEN = ("truth_area", "n_targets", "text_length", "thought_correct")
"""What the partial correlation holds fixed; columns that are unknown throughout are left out."""
POOLED = "all"


def work(stage: Stage) -> None:
    """Fills `correlations.csv` and `points.csv`."""
    points = _points(read_runs(stage.collections["evaluate"], stage.params["runs"], stage.params["splits"]))
    rows: list[dict[str, Any]] = []
    for (variant, seed), run in points.groupby(["variant", "seed"], sort=True):
        parts = [(POOLED, run), *run.groupby("benchmark", sort=True)]
        for benchmark, part in parts:
            place = {"variant": variant, "seed": seed, "benchmark": benchmark}
            for quality, accuracy, control in PAIRS:
                rows.append(place | _correlation(part, quality, accuracy, "trained", stage))
                if control:
                    rows.append(place | _correlation(part, control, accuracy, "untrained", stage))
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].to_numpy())
    table.to_csv(stage.folder / "correlations.csv", index=False, lineterminator="\n")
    points.to_csv(stage.folder / "points.csv", index=False, lineterminator="\n")
    stage.rows |= {"correlations": len(table), "points": len(points)}


def _points(records: pd.DataFrame) -> pd.DataFrame:
    found = records[records["truth_area"] > 0].copy()
    found["dice_loss"] = 1 - 2 * found["intersection"] / (found["truth_area"] + found["predicted_area"])
    qualities = [name for quality, _, control in PAIRS for name in (quality, control) if name]
    return found[["variant", "seed", "benchmark", "split", "sample_id", "image", "iou", "dice_loss", *qualities, *GIVEN]]


def _correlation(points: pd.DataFrame, quality: str, accuracy: str, dictionary: str, stage: Stage) -> dict[str, Any]:
    bootstrap, shuffles = stage.params["bootstrap"], stage.params["correlation"]["shuffles"]
    x, y = (points[name].to_numpy(float) for name in (quality, accuracy))
    given = points[[name for name in GIVEN if points[name].notna().all()]].to_numpy(float)
    found = estimates(x, y, given, points["image"].to_numpy(), bootstrap["samples"], bootstrap["level"], bootstrap["seed"])
    null = null_twin(x, y, shuffles, bootstrap["level"], bootstrap["seed"])
    row: dict[str, Any] = {"quality": quality, "accuracy": accuracy, "dictionary": dictionary, "n": len(points)}
    row["images"] = int(np.unique(points["image"]).size)
    for name, estimate in found.items():
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row | {"null_mean": null.mean, "null_low": null.low, "null_high": null.high, "p": null.p}


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("correlate", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
