"""What the causal battery says of the run that a page shows: means over samples with intervals, for attributes and for the whole interface.

The battery measures edits of several concepts at once; these figures are of the interface, or of an attribute's concepts together, and a
page says so. Seeds are put together in the report, not here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from segcompass.causal.measurements import read_measurements
from segcompass.provenance.stage import read_run
from segcompass.stats.draws import ClusterDraws
from segcompass.study.analysis import BootstrapSettings

SHOWN = {
    "swap": ("cause", "isolation"),
    "paths": ("shapley", "total"),
    "dose": ("score",),
    "attribution": ("rank_correlation",),
}
"""Intervention -> its measures that a page shows."""


def battery_figures(folders: Sequence[Path], variant: str, seed: int, bootstrap: BootstrapSettings) -> list[dict[str, Any]]:
    """Means of one run: intervention, arm, at, measure, mean, low, high, samples, images; none where its artefacts are not given.

    Args:
        folders: artefacts of `intervene` and `exchange`, of any runs.
        variant: of the run.
        seed: of the run.
        bootstrap: of images.
    """
    own = [folder for folder in folders if read_run(folder)["wildcards"] == {"variant": variant, "seed": str(seed)}]
    frame = read_measurements(own)
    rows: list[dict[str, Any]] = []
    for intervention, measures in SHOWN.items():
        kept = frame[(frame["intervention"] == intervention) & frame["measure"].isin(measures)]
        for (arm, at, measure), group in kept.groupby(["arm", "at", "measure"], observed=True, sort=True):
            rows.append({"intervention": intervention, "arm": arm, "at": at, "measure": measure} | _mean(group, bootstrap))
    return rows


def _mean(group: pd.DataFrame, bootstrap: BootstrapSettings) -> dict[str, Any]:
    images, cluster = np.unique(group["image"].astype(str), return_inverse=True)
    mean = ClusterDraws(len(images), bootstrap.samples, bootstrap.seed).mean(group["value"].to_numpy(), cluster)
    low, high = mean.interval(bootstrap.level)
    return {"mean": mean.value, "low": low, "high": high, "samples": len(group), "images": len(images)}
