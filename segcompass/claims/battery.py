"""Figures of the causal battery over seeds and images, formed from what its stages measured (`segcompass.causal.measurements`).

A figure is formed of every run on the same expressions, so that all runs of one or two variants are paired; an expression that is not
measured in some run counts where it is. Benchmarks count alike. Formulas, over the expressions of a run:

    mean             mean of the measure y                       null value: that of no effect, 0 for a difference of two arms
    area             mean of the curve of y over log(size), by the trapezoidal rule, at the sizes that every arm of an expression has
    disentanglement  (mean y + mean x) / 2, of causes y and isolations x: RAVEL's, attributes counted alike
    share            sum of y / sum of x                         0 where nothing flows
    slope            sum of x y / sum of x^2, edit by edit       1 where predictions x hold
    r2               1 - sum of (y - x)^2 / sum of (y - mean y)^2, edit by edit       0 where they say no more than the mean, and below

Shape letters: S seeds, n expressions, I images.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from segcompass.claims.contrasts import ALL, tested_expressions
from segcompass.claims.evidence import SEEDS, UNMEASURED, Counted, Evidence, Permuted, Stated
from segcompass.stats.correlation import remainders
from segcompass.stats.crossed import Crossed, Grid
from segcompass.stats.permutation import blocks, permuted
from segcompass.study.claims import BatteryEstimand

KEYS = ["benchmark", "split", "sample_id", "image"]
"""An expression."""
LINES = ("slope", "r2")


class Battery:
    """What was measured on the runs of a study."""

    def __init__(self, measurements: pd.DataFrame, permutations: int, twins: int, level: float, seed: int) -> None:
        """Takes the rows of all runs, and how often lines are permuted, and how many of these twins are kept."""
        self.measured = measurements
        self.permutations, self.twins, self.level, self.seed = permutations, twins, level, seed

    def evidence(self, estimand: BatteryEstimand, variants: Sequence[str], population: str) -> Evidence:
        """A figure of one variant, or its difference between two; without any number where it was not measured.

        Args:
            estimand: says what; its own `of` is not read.
            variants: one or two.
            population: a benchmark or `all`.
        """
        rows = self._chosen(estimand, variants, population)
        seeds = sorted(set.intersection(*(set(rows.loc[rows["variant"] == variant, "seed"]) for variant in variants)))
        if not seeds:
            return UNMEASURED
        arms = [estimand.arm] if estimand.control is None else [estimand.arm, estimand.control]
        keys = [*KEYS, "at"] if estimand.figure in LINES else KEYS
        measures = [estimand.measure] if estimand.over is None else [estimand.over, estimand.measure]
        rows = _of_every_arm(rows, len(arms)) if estimand.figure == "area" else rows
        expressions = rows[keys].astype(str).drop_duplicates().sort_values(keys)
        values = _cells(rows, expressions, [list(variants), seeds, arms, measures], estimand.figure == "area")
        values = np.where(np.isnan(values).any((2, 4), keepdims=True), np.nan, values)
        grid, benchmarks = Grid(expressions["image"].to_numpy()), expressions["benchmark"].to_numpy()
        own = [
            [_over_benchmarks(estimand.figure, of_arm, grid, benchmarks) for of_arm in of_variant.swapaxes(0, 1)] for of_variant in values
        ]
        found = [of_arms[0] if len(arms) == 1 else of_arms[0] - of_arms[1] for of_arms in own]
        effect = found[0] if len(found) == 1 else found[0] - found[1]
        if estimand.figure in LINES and len(variants) == len(arms) == 1:
            return self._permuted_line(estimand.figure, effect, values[0, :, 0], expressions["image"].to_numpy())
        return Counted(effect)

    def _chosen(self, estimand: BatteryEstimand, variants: Sequence[str], population: str) -> pd.DataFrame:
        """Rows of the estimand on the tested splits."""
        rows = self.measured
        kept = (rows["intervention"] == estimand.intervention) & rows["variant"].isin(variants)
        kept &= rows["arm"].isin([estimand.arm, estimand.control]) & rows["measure"].isin([estimand.measure, estimand.over])
        if estimand.at is not None:  # what a share is a share of has no place of its own
            kept &= (rows["at"] == estimand.at) | ((rows["measure"] == estimand.over) & (rows["at"] == ""))
        if population != ALL:
            kept &= rows["benchmark"] == population
        chosen = rows[kept]
        return tested_expressions(chosen.astype({"benchmark": str, "split": str}))

    def _permuted_line(self, figure: str, effect: Crossed, values: np.ndarray, images: np.ndarray) -> Evidence:
        """A line has no labels to exchange, so predictions [S, n, 2] are given to other images: of expressions that every run has."""
        known = ~np.isnan(values).any((0, 2))
        made = [remainders("pearson", run[known, 0], run[known, 1], np.zeros((known.sum(), 0))) for run in values]
        if not np.isfinite([run.value for run in made]).all():
            return Counted(effect)
        drawn = permuted(made, blocks(images[known]), self.permutations, self.seed)
        far, kept = np.sort(np.abs(drawn)), drawn[: self.twins]
        p = (1 + len(far) - np.searchsorted(far, np.abs(kept))) / (1 + len(far))
        return Stated(effect.estimate(self.level), Permuted(_line_of(figure, kept, values[:, known]), p))


def _line_of(figure: str, pearson: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The figure [B] of coefficients [B] between predictions and changes [S, n, 2]; R2 below 0, worse than none, counts as 0."""
    x, y = np.moveaxis(values, -1, 0)
    product = pearson * float((x.std(1) * y.std(1)).mean())
    if figure == "slope":
        return (product + float((x.mean(1) * y.mean(1)).mean())) / float((x**2).mean())
    error = float((x.var(1) + y.var(1) + (x.mean(1) - y.mean(1)) ** 2).mean()) - 2 * product
    return np.maximum(0.0, 1 - error / float(y.var(1).mean()))


def _of_every_arm(rows: pd.DataFrame, arms: int) -> pd.DataFrame:
    """The sizes of an expression's curve at which each arm was measured."""
    group = rows.groupby(["variant", "seed", *KEYS, "at"], observed=True, sort=False)
    return rows[group["arm"].transform("size") == arms]


def _cells(rows: pd.DataFrame, expressions: pd.DataFrame, axes: Sequence[Sequence[str | int]], areas: bool) -> np.ndarray:
    """[V, S, A, n, M] of variants, seeds, arms, expressions and measures: the mean over an expression's rows, or the area under them.

    NaN where there is no row.
    """
    names = ("variant", "seed", "arm", "measure")
    places = [pd.Index(axis).get_indexer(pd.Index(rows[name].astype(type(axis[0])))) for name, axis in zip(names, axes, strict=True)]
    row = pd.MultiIndex.from_frame(expressions).get_indexer(pd.MultiIndex.from_frame(rows[list(expressions)].astype(str)))
    shape = (*(len(axis) for axis in axes[:3]), len(expressions), len(axes[3]))
    cell = np.ravel_multi_index((*places[:3], row, places[3]), shape)
    value, size = rows["value"].to_numpy(float), int(np.prod(shape))
    count = np.bincount(cell, minlength=size)
    mean = np.divide(np.bincount(cell, value, size), count, out=np.full(size, np.nan), where=count > 0)
    if areas:
        log = np.log(rows["at"].astype(float).to_numpy())
        order = np.lexsort((log, cell))
        cell, log, value = cell[order], log[order], value[order]
        width = np.where(np.diff(cell) == 0, np.diff(log), 0.0)
        strip = np.bincount(cell[1:], width * (value[1:] + value[:-1]) / 2, size)
        widths = np.bincount(cell[1:], width, size)
        mean = np.divide(strip, widths, out=mean, where=widths > 0)
    return mean.reshape(shape)


def _over_benchmarks(figure: str, values: np.ndarray, grid: Grid, benchmarks: np.ndarray) -> Crossed:
    """The figure of values [S, n, 1 or 2], benchmarks counted alike."""
    masked = [np.where((benchmarks == name)[None, :, None], values, np.nan) for name in dict.fromkeys(benchmarks)]
    parts = [_of_benchmark(figure, part, grid) for part in masked if not np.isnan(part).all()]
    if not parts:
        return grid.mean(values[..., 0], SEEDS)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total * (1 / len(parts))


def _of_benchmark(figure: str, values: np.ndarray, grid: Grid) -> Crossed:
    """The figure of values [S, n, 1 or 2]: y, or x and y."""
    if figure in ("mean", "area"):
        return grid.mean(values[..., 0], SEEDS)
    if figure == "disentanglement":
        return (grid.mean(values[..., 0], SEEDS) + grid.mean(values[..., 1], SEEDS)) * 0.5
    known = ~np.isnan(values).any(-1)
    x, y = np.where(known, values[..., 0], 0.0), np.where(known, values[..., 1], 0.0)
    if figure == "share":
        return grid.ratio(y, x, SEEDS)
    if figure == "slope":
        return grid.ratio(x * y, x**2, SEEDS)
    mean = y.sum(1, keepdims=True) / np.maximum(1, known.sum(1, keepdims=True))
    lost = grid.ratio(np.where(known, (y - x) ** 2, 0.0), np.where(known, (y - mean) ** 2, 0.0), SEEDS)
    return Crossed(1 - lost.value, {SEEDS: -lost.influence[SEEDS]}, lost.samples)
