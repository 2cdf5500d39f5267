"""What a slot's strongest concepts carry over all sizes together: CPR and CMD of the curves of necessity and sufficiency.

    CPR = area under f              CMD = area under |1 - f|

over the fraction of the active concepts, from 0 to 1, by trapezoids between the measured fractions; at both ends f is known, 0 or 1. f is
formed over those expressions of a benchmark that have the whole curve of every arm (curves.py), areas are means over benchmarks, each
counted alike. Of concepts that are kept, CPR is 1 and CMD 0 where the first one is enough; of concepts that are removed it is the other way
round. Neither has bounds. Null value: those of matched concepts, a difference of 0. Intervals are by the delta method, which at f = 1 sees
no corner of |1 - f|. Source: MIB (Mueller et al., 2025), whose areas are of circuits that are kept, and begin at 0.1 %; removal is ours.

Shape letters: S seeds, n expressions.
"""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import get_args

import numpy as np
import pandas as pd

from segcompass.claims.contrasts import tested_expressions
from segcompass.claims.evidence import SEEDS
from segcompass.reporting.curves import faithfulness
from segcompass.reporting.table import Table, Value
from segcompass.stats.crossed import Crossed, Grid
from segcompass.study.analysis import Ablation

ENDS = {"kept": (0.0, 1.0), "removed": (1.0, 0.0)}
"""Way -> f at the fractions 0 and 1."""
ARMS = ("top", "matched")
AREAS, NAMES = ("CPR", "CMD"), ("strongest", "matched", "difference")
"""What columns are called: by the area, and by the arms and the first one less the second."""
KEYS = ["benchmark", "split", "sample_id", "image"]


def faithfulness_table(measurements: pd.DataFrame, level: float) -> Table:
    """One row a variant, ablation and way.

    Args:
        measurements: of all runs (`read_measurements`).
        level: of the intervals. A single seed is taken as it is: its interval is one over images.
    """
    columns = [f"{area}, {name}" for area in AREAS for name in NAMES]
    caption = (
        "Areas under f (CPR) and under |1 - f| (CMD) over the fraction of a slot's active concepts that are kept alone, or removed: of the"
        " strongest, of as much of others in every token type (matched), and their difference. f is the share of the score that is left;"
        " what is not kept, or removed, becomes nothing (zero), its mean, or another sample's (resample). Where the first concept carries"
        " all, CPR is 1 and CMD 0 of what is kept, CPR 0 and CMD 1 of what is removed. Means over benchmarks with"
        f" {100 * level:.0f} % intervals over seeds and images, of a single seed over images."
    )
    table = Table("faithfulness", caption, [*columns, "seeds", "images"], decimals=2)
    texts = dict.fromkeys([*KEYS, "arm", "measure", "at"], str)
    rows = tested_expressions(measurements[measurements["intervention"] == "curve"].astype(texts))
    for variant, part in rows.groupby("variant", observed=True, sort=False):
        for ablation in [name for name in get_args(Ablation) if (part["arm"] == f"none_{name}").any()]:
            for way in ENDS:
                table.add(f"{variant}, {ablation}, {way}", _row(part, ablation, way, level))
    return table


def areas(fractions: Sequence[float], f: Sequence[Crossed], ends: tuple[float, float]) -> tuple[Crossed, Crossed]:
    """(CPR, CMD) of f at ascending fractions between 0 and 1, and of what it is at these two."""
    known = [Crossed(value, (f[0] * 0.0).influence, f[0].samples) for value in (*ends, 1.0)]
    points, one = [known[0], *f, known[1]], known[2]
    weights = np.convolve(np.diff([0.0, *fractions, 1.0]), [0.5, 0.5])
    away = [(one - point) * float(np.sign(1.0 - point.value)) for point in points]
    cpr, cmd = (reduce(add, (point * weight for point, weight in zip(of, weights, strict=True))) for of in (points, away))
    return cpr, cmd


def _row(rows: pd.DataFrame, ablation: str, way: str, level: float) -> dict[str, Value]:
    """The areas of both arms and their differences, of one variant's rows; nothing where no expression has the whole curve."""
    arms, measure, nothing = [f"{arm}_{ablation}" for arm in ARMS], f"{way}_score", f"none_{ablation}"
    curve = rows[rows["arm"].isin([*arms, "all", nothing]) & rows["measure"].isin([measure, "score"])]
    fractions = sorted(curve.loc[curve["arm"] == arms[0], "at"].unique(), key=float)
    whole = curve.pivot(index=KEYS, columns=["arm", "measure", "at", "seed"], values="value").sort_index(axis=1).dropna()
    if whole.empty:
        return {}
    benchmarks, images = (whole.index.get_level_values(name).to_numpy() for name in ("benchmark", "image"))
    grid = Grid(images)
    of_arms: dict[str, list[tuple[Crossed, Crossed]]] = {arm: [] for arm in arms}
    for benchmark in dict.fromkeys(benchmarks):
        here = np.where(benchmarks == benchmark, 1.0, 0.0)
        ends = [here * whole[arm, "score", ""].to_numpy(float).T for arm in (nothing, "all")]
        for arm, found in of_arms.items():
            scores = [here * whole[arm, measure, at].to_numpy(float).T for at in fractions]
            found.append(areas([float(at) for at in fractions], [faithfulness(grid, score, *ends) for score in scores], ENDS[way]))
    values: dict[str, Value] = {}
    for number, area in enumerate(AREAS):
        top, control = (reduce(add, (both[number] for both in found)) * (1 / len(found)) for found in of_arms.values())
        for name, formed in zip(NAMES, (top, control, top - control), strict=True):
            estimate = (formed if len(formed.influence[SEEDS]) > 1 else formed.of_these_runs()).estimate(level)
            values[f"{area}, {name}"] = Value(estimate.value, seeds=estimate.seeds, low=estimate.low, high=estimate.high)
    return values | {"seeds": Value(float(estimate.seeds), whole=True), "images": Value(float(estimate.images), whole=True)}
