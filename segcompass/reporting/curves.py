"""Necessity and sufficiency of concepts over the seeds of a variant and the images of a benchmark: the points of the curves.

f is formed from means (segcompass/causal/curve.py), as a ratio of sums over expressions, so that its interval is one over seeds and images.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from segcompass.claims.evidence import SEEDS
from segcompass.stats.crossed import Crossed, Grid

COLUMNS = ["variant", "benchmark", "ablation", "edit", "way", "fraction", "f", "low", "high", "seeds", "images", "samples"]


def curve_points(measurements: pd.DataFrame, level: float) -> pd.DataFrame:
    """One row a variant, benchmark, ablation, edit (top, matched, direction), way (kept, removed) and fraction.

    Args:
        measurements: of all runs (`read_measurements`).
        level: of the intervals. A single seed is taken as it is: its interval is one over images.
    """
    scores = measurements[(measurements["intervention"] == "curve") & measurements["measure"].astype(str).str.endswith("score")]
    rows = []
    for place, part in scores.groupby(["variant", "benchmark"], observed=True, sort=False):
        wide = part.pivot(index=["sample_id", "image"], columns=["arm", "measure", "at", "seed"], values="value")
        wide = wide.sort_index(axis=1)
        rows += [dict(zip(COLUMNS, (*place, *point), strict=True)) for point in _points(wide, level)]
    return pd.DataFrame(rows, columns=COLUMNS)


def faithfulness(grid: Grid, score: np.ndarray, nothing: np.ndarray, everything: np.ndarray) -> Crossed:
    """f of the expressions' scores [S, n] under an edit, without any concept and with all; it does not count one without either."""
    return grid.ratio(score - nothing, everything - nothing, SEEDS)


def _points(wide: pd.DataFrame, level: float) -> Iterator[tuple[Any, ...]]:
    for arm, measure, at in dict.fromkeys((str(column[0]), str(column[1]), str(column[2])) for column in wide.columns):
        edit, _, ablation = arm.partition("_")
        if edit in ("all", "none"):
            continue
        columns = [(arm, measure, at), ("all", "score", ""), (f"none_{ablation}", "score", "")]
        parts = pd.concat({name: wide[column] for name, column in zip(("score", "all", "none"), columns, strict=True)}, axis=1).dropna()
        score, everything, nothing = (parts[name].sort_index(axis=1).to_numpy(float).T for name in ("score", "all", "none"))
        found = faithfulness(Grid(parts.index.get_level_values("image").to_numpy()), score, nothing, everything)
        estimate = (found if len(score) > 1 else found.of_these_runs()).estimate(level)
        numbers = (round(number, 6) for number in (estimate.value, estimate.low, estimate.high))
        yield ablation, edit, measure.removesuffix("_score"), float(at), *numbers, len(score), estimate.images, estimate.samples
