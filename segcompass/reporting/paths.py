"""How much of a mask each road into the interface carries, over seeds and images: Shapley shares of `segcompass.causal.paths`."""

from collections.abc import Sequence

import pandas as pd

from segcompass.causal.measurements import PATHS
from segcompass.claims.battery import Battery
from segcompass.claims.contrasts import ALL
from segcompass.study.claims import BatteryEstimand

COLUMNS = ["variant", "path", "share", "low", "high", "seeds", "images", "samples"]


def path_shares(measurements: pd.DataFrame, level: float) -> pd.DataFrame:
    """One row a variant and path: its share of what the four carry together, with its interval; the four add up to 1.

    Args:
        measurements: of all runs that exchange codes.
        level: of the intervals.
    """
    battery = Battery(measurements, 1, 1, level, 0)
    variants: Sequence[str] = [str(name) for name in measurements.loc[measurements["intervention"] == "paths", "variant"].unique()]
    rows = []
    for variant in variants:
        for path in PATHS:
            found = battery.evidence(_share_of(variant, path), [variant], ALL).estimate(level)
            rows.append((variant, path, found.value, found.low, found.high, found.seeds, found.images, found.samples))
    return pd.DataFrame(rows, columns=COLUMNS)


def _share_of(variant: str, path: str) -> BatteryEstimand:
    names = {"intervention": "paths", "figure": "share", "measure": "shapley", "over": "total"}
    return BatteryEstimand(kind="battery", of=variant, arm="resample", control=None, at=path, **names)  # type: ignore[arg-type]
