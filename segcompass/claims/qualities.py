"""A concept's quality, expression by expression, in the runs of a variant: its mean a run, and its difference between two variants."""

import numpy as np
import pandas as pd

from segcompass.claims.evidence import SEEDS
from segcompass.stats.crossed import Crossed, Grid

Runs = dict[int, pd.DataFrame]
"""Seed -> points (`segcompass.concepts.accuracy`) of a variant's run, in one order."""


def of_variant(points: pd.DataFrame, variant: str) -> Runs:
    """The runs of a variant."""
    rows = points[points["variant"] == variant].sort_values(["benchmark", "split", "sample_id"])
    return {seed: rows[rows["seed"] == seed] for seed in sorted(set(rows["seed"]))}


def mean_quality(runs: Runs, quality: str) -> list[float]:
    """Its mean over the expressions of each run."""
    return [float(run[quality].mean()) for run in runs.values()]


def quality_difference(mine: Runs, column: str, others: Runs, other: str) -> Crossed | None:
    """The mean of one column less that of another's, over the seeds that both have; None where there is nothing to compare."""
    seeds = [seed for seed in mine if seed in others]
    if not seeds or any(name not in mine[seeds[0]] for name in (column, other)):
        return None
    values = np.stack([mine[seed][column].to_numpy(float) - others[seed][other].to_numpy(float) for seed in seeds])
    return Grid(mine[seeds[0]]["image"].to_numpy()).mean(values, SEEDS)
