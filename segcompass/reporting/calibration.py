"""Calibration of what read-outs list: how far a response falls once listed units are removed, against what their contributions add up to.

Edits are those of arm `top` (segcompass/causal/traceability.py), of all sizes together, which the ledger decides traceability by. They are
put into bins of equally many by what was predicted; a bin's point is the mean of its edits, on the line of equality where predictions hold.
`slope` and `r2` are the ledger's figures (segcompass/claims/battery.py); `within` is the share of edits with |observed - predicted| at most
a tolerance times the response before the edit, its scale. Null value: `r2` and `within` of permuted contributions.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from segcompass.claims.battery import KEYS, Battery
from segcompass.claims.contrasts import ALL, tested_expressions
from segcompass.claims.evidence import SEEDS
from segcompass.stats.crossed import Estimate, Grid
from segcompass.study.claims import BatteryEstimand

RESPONSES = {"heat map": ("observed", "score"), "mask": ("observed_mask", "mask_score")}
"""What responds -> the measure of how far it falls, and that of what it is before."""
TOLD = (
    ("heat map", "contributions", "predicted_integrated"),
    ("heat map", "permuted", "predicted_permuted"),
    ("mask", "contributions", "predicted_mask"),
)
"""Response, by what it is predicted, and the measure of that."""
FIGURES = ("slope", "r2", "within")
COLUMNS = ["variant", "response", "told", "bin", "predicted", "observed", "low", "high", "edits", "seeds", "images"]
COLUMNS += [f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")]


def calibration_points(measurements: pd.DataFrame, variants: Sequence[str], bins: int, tolerance: float, level: float) -> pd.DataFrame:
    """One row a variant, response, kind of prediction and bin; the figures of the first three stand in each of their rows.

    Args:
        measurements: of all runs (`read_measurements`).
        variants: those that are looked at, of which some may not have been measured.
        bins: of equally many edits.
        tolerance: of `within`.
        level: of the intervals. A single seed is taken as it is: its intervals are over images.
    """
    rows = measurements[(measurements["intervention"] == "traceability") & measurements["arm"].isin(["top", "whole"])]
    rows = tested_expressions(rows.astype(dict.fromkeys(("variant", "arm", "measure", "at", *KEYS), str)))
    found: list[dict[str, Any]] = []
    for variant in variants:
        mine = rows[rows["variant"] == variant]
        for response, told, predicted in TOLD if len(mine) else ():
            observed, scale = RESPONSES[response]
            figures = {name: _figure(mine, name, predicted, observed, scale, tolerance, level) for name in FIGURES}
            ends = {f"{name}{end}": value for name, one in figures.items() for end, value in _ends(one)}
            place = {"variant": variant, "response": response, "told": told}
            found += [place | point | ends for point in _bins(mine, predicted, observed, bins, level)]
    return pd.DataFrame(found, columns=COLUMNS)


def _figure(rows: pd.DataFrame, figure: str, predicted: str, observed: str, scale: str, tolerance: float, level: float) -> Estimate:
    names: dict[str, Any] = {"kind": "battery", "of": rows["variant"].iloc[0], "intervention": "traceability", "arm": "top"}
    names |= {"figure": figure, "measure": observed, "over": predicted, "control": None, "at": None}
    if figure == "within":
        rows, names = _within(rows, predicted, observed, scale, tolerance), names | {"figure": "mean", "measure": figure, "over": None}
    return Battery(rows, 1, 1, level, 0).evidence(BatteryEstimand(**names), [names["of"]], ALL).estimate(level)


def _within(rows: pd.DataFrame, predicted: str, observed: str, scale: str, tolerance: float) -> pd.DataFrame:
    """Measurements `within`: 1 of an edit whose observed fall is as near to the predicted one as the tolerance allows, else 0."""
    of_run = ["variant", "seed", *KEYS]
    edits = rows[rows["arm"] == "top"].pivot(index=[*of_run, "at"], columns="measure", values="value").reset_index()
    before = rows[(rows["arm"] == "whole") & (rows["measure"] == scale)].set_index(of_run)["value"].rename("before")
    edits = edits.join(before, on=of_run).dropna(subset=[predicted, observed, "before"])
    near = (edits[observed] - edits[predicted]).abs() <= tolerance * edits["before"].abs()
    same = {"intervention": "traceability", "arm": "top", "measure": "within"}
    return edits[[*of_run, "at"]].assign(**same, value=near.astype(float))


def _bins(rows: pd.DataFrame, predicted: str, observed: str, bins: int, level: float) -> Iterator[dict[str, Any]]:
    edits = rows[rows["arm"] == "top"].pivot(index=[*KEYS, "at"], columns=["measure", "seed"], values="value")
    x, y = (edits[measure].sort_index(axis=1).to_numpy(float).T for measure in (predicted, observed))
    known = ~np.isnan(x) & ~np.isnan(y)
    edges = np.quantile(x[known], np.linspace(0, 1, bins + 1)[1:-1])
    places, grid = np.searchsorted(edges, x, side="right"), Grid(edits.index.get_level_values("image").to_numpy())
    for number in range(bins):
        here = known & (places == number)
        if here.any():  # where many predictions are alike, some bins have none
            mean = grid.mean(np.where(here, y, np.nan), SEEDS)
            seen = (mean if len(y) > 1 else mean.of_these_runs()).estimate(level)
            counts = {
                "edits": int(here.sum()),
                "seeds": len(y),
                "images": len(np.unique(edits.index.get_level_values("image")[here.any(0)])),
            }
            yield {"bin": number, "predicted": float(x[here].mean()), "observed": seen.value, "low": seen.low, "high": seen.high} | counts


def _ends(estimate: Estimate) -> Iterator[tuple[str, float]]:
    yield from (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high))
