"""Where the time of joint training goes. Durations differ between runs of the same study, so they stand in `run.json`, never in a table."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd


def phase_shares(runs: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Variant -> phase -> seconds, mean over seeds, and their share of all phases of the variant.

    Args:
        runs: the `run.json` of every run of train_joint.
    """
    rows = [{"variant": run["wildcards"]["variant"]} | run["facts"]["seconds_per_phase"] for run in runs]
    means = pd.DataFrame(rows).groupby("variant", sort=False).mean()
    return {
        str(variant): {
            str(phase): {"seconds": round(value, 2), "share": round(value / row.sum(), 4)} for phase, value in row.dropna().items()
        }
        for variant, row in means.iterrows()
    }
