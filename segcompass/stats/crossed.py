"""Statistics of runs over several seeds on the same images: seeds and images are both samples, of what could have been drawn.

Every score stands on a grid of S seeds (rows) and n expressions (columns) of I images; an image's expressions belong together. A statistic
is linearised (its infinitesimal jackknife: Efron 1982): estimate - truth is nearly the mean over seeds of the sum over images of
`influence` [S, I]. Its variance follows from the two-way decomposition that Owen (2007, the pigeonhole bootstrap), Cameron, Gelbach and
Miller (2011) and Davezies, D'Haultfoeuille and Guyonvarch (2021) use, here with the interaction taken off once, so that it is unbiased:

    v = v_seeds + v_images - v_interaction

Drawing seeds and images with replacement instead counts the interaction three times (too wide for paired differences) and the seeds'
variance (S - 1) / S times, with a normal tail (too narrow with few). `segcompass.stats.reference` turns v into p-values and intervals of
the same test, so that an interval excludes a value exactly where its p-value is below 1 - level.

What 95 % intervals covered in 12,000 simulated studies a cell (seeds' sd 1 to 3 points, images' 25 to 35, interaction 10 to 20, 100 to 300
images of 1 to 4 expressions; 0.2 points of simulation error; tests/stats/test_coverage.py repeats it):

    statistic                                   3 seeds        5 seeds
    mean                                        95.9 - 96.6    95.1 - 95.4
    ratio of sums, areas log-normal with sd 1   96.0 - 96.8    94.5 - 96.1
    paired difference                           94.7 - 97.5    95.1 - 96.2
    difference, independent seeds               96.6 - 97.3    95.8 - 96.0
    share of a gap (4 of 8 points)              95.2 - 97.5    95.1 - 96.6

More than 95 % is covered where seeds differ by their interaction with images alone (sd 1): their variance is then known worse than it is.

Shape letters: S seeds, n expressions, I images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq

from segcompass.stats.reference import critical_value, two_sided_p

THESE_RUNS = "these runs"
"""Name of the set of seeds of a statistic whose seeds are no sample."""


@dataclass(frozen=True)
class Estimate:
    """A statistic with its interval and the p-value of the same test against 0; NaN where unknown, as with a single seed."""

    value: float
    low: float
    high: float
    p: float
    seeds: int
    """The fewest seeds of any run that it is made of."""
    images: int
    samples: int
    """Expressions."""


@dataclass(frozen=True)
class Variance:
    """What a statistic's variance is made of, with degrees of freedom; arrays where many statistics are decomposed at once."""

    seeds: np.ndarray
    images: np.ndarray
    """Of the images alone: their interaction with the seeds is part of `seeds`."""
    seeds_df: np.ndarray
    images_df: np.ndarray
    """At least 1: where the interaction is nearly all that images show, what they add alone is hardly known."""

    def p(self, deviation: np.ndarray) -> np.ndarray:
        """Two-sided p-value of estimate - hypothesis; without any variance 1 for no deviation, else 0."""
        total = self.seeds + self.images
        known = total > 0
        t = np.divide(deviation, np.sqrt(total), out=np.zeros_like(total), where=known)
        p = two_sided_p(t, np.where(known, self.seeds, 1.0), self.images, self.seeds_df, self.images_df)
        return np.where(known, p, np.where(deviation == 0, 1.0, 0.0))


@dataclass(frozen=True)
class Crossed:
    """A statistic and its influence values, closed under sums, differences, multiples and quotients (by the delta method).

    Statistics of runs that share their seeds carry the same key and are paired seed by seed; under different keys their seeds are taken
    as independent. All statistics of one `Grid` are paired image by image. Joining two that cannot be paired raises a ValueError.
    """

    value: float
    influence: Mapping[str, np.ndarray]
    """Name of a set of seeds -> [S, I]; sums over images are what each seed's own statistic is above the mean of the set."""
    samples: int

    def __add__(self, other: "Crossed") -> "Crossed":
        """Sum."""
        return self._joined(self.value + other.value, 1.0, other, 1.0)

    def __sub__(self, other: "Crossed") -> "Crossed":
        """Difference."""
        return self._joined(self.value - other.value, 1.0, other, -1.0)

    def __mul__(self, factor: float) -> "Crossed":
        """Multiple."""
        return Crossed(self.value * factor, {key: factor * values for key, values in self.influence.items()}, self.samples)

    def __truediv__(self, other: "Crossed") -> "Crossed":
        """Quotient; where the divisor is not far from 0, `share` gives the honest interval."""
        if other.value == 0:
            return self * math.nan
        quotient = self.value / other.value
        return self._joined(quotient, 1 / other.value, other, -quotient / other.value)

    def of_these_runs(self) -> "Crossed":
        """The same statistic where the seeds are taken as they are: its interval says what other images would show of these very runs."""
        influence = sum((values.mean(0, keepdims=True) for values in self.influence.values()), np.zeros(()))
        return Crossed(self.value, {THESE_RUNS: influence}, self.samples)

    def variance(self) -> Variance:
        """The decomposition of its variance."""
        return decomposed(list(self.influence.values()))

    def estimate(self, level: float) -> Estimate:
        """The statistic with its interval at a level such as 0.95."""
        if self._undecided():
            return self._estimate(math.nan, math.nan, math.nan)
        variance = self.variance()
        half = _half_width(variance, level)
        return self._estimate(self.value - half, self.value + half, float(variance.p(np.asarray(self.value))))

    def share(self, whole: "Crossed", level: float) -> Estimate:
        """self / whole, such as the part of a gap that is closed: every ratio at which self - ratio * whole is not told from 0.

        That is Fieller's (1954) set. Where `whole` itself is not told from 0 nothing bounds the ratio: the interval is infinite. The
        p-value is that of `self`, so it is below 1 - level exactly where 0 lies outside of a bounded interval.
        """
        if self._undecided() or whole._undecided() or whole.value == 0:
            return (self / whole)._estimate(math.nan, math.nan, math.nan)

        def excess(ratio: float) -> float:
            rest = self - whole * ratio
            return float(rest.variance().p(np.asarray(rest.value))) - (1 - level)

        quotient = self / whole
        ends = [-math.inf, math.inf]
        step = _half_width(quotient.variance(), level)
        if float(whole.variance().p(np.asarray(whole.value))) < 1 - level:
            ends = [_crossing(excess, quotient.value, side * step) for side in (-1, 1)]
        return quotient._estimate(ends[0], ends[1], float(self.variance().p(np.asarray(self.value))))

    def _joined(self, value: float, factor: float, other: "Crossed", other_factor: float) -> "Crossed":
        influence = {key: factor * values for key, values in self.influence.items()}
        images = {values.shape[1] for values in (*influence.values(), *other.influence.values())}
        if len(images) > 1:
            raise ValueError(f"statistics of {' and '.join(map(str, sorted(images)))} images cannot be paired: form them on one grid")
        for key, values in other.influence.items():
            if key in influence and len(influence[key]) != len(values):
                raise ValueError(f"statistics of the seeds `{key}` have {len(influence[key])} and {len(values)} of them: pair common seeds")
            influence[key] = influence[key] + other_factor * values if key in influence else other_factor * values
        return Crossed(value, influence, max(self.samples, other.samples))

    def _undecided(self) -> bool:
        shapes = {name: values.shape for name, values in self.influence.items()}
        single = any(seeds < 2 and name != THESE_RUNS for name, (seeds, _) in shapes.items())
        return math.isnan(self.value) or single or min(images for _, images in shapes.values()) < 2

    def _estimate(self, low: float, high: float, p: float) -> Estimate:
        shapes = [values.shape for values in self.influence.values()]
        return Estimate(self.value, low, high, p, min(seeds for seeds, _ in shapes), shapes[0][1], self.samples)


class Grid:
    """The images of n expressions, on which the statistics of all runs are formed.

    Statistics of several benchmarks, or of their mean, are formed on one grid of all their expressions: a ratio counts those alone whose
    denominator is not 0.
    """

    def __init__(self, images: Sequence[Any] | np.ndarray) -> None:
        """Takes the image of each expression [n]."""
        self.names, index = np.unique(np.asarray(images), return_inverse=True)
        self._order = np.argsort(index, kind="stable")
        self._starts = np.searchsorted(index[self._order], np.arange(len(self.names)))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """[..., I]: sums over each image's expressions of values [..., n]."""
        return np.add.reduceat(np.asarray(values, float)[..., self._order], self._starts, axis=-1)

    def ratio(self, numerator: np.ndarray, denominator: np.ndarray, seeds: str) -> Crossed:
        """sum(numerator) / sum(denominator) over expressions, sums taken as means over seeds: cIoU, or a mean over some expressions.

        Args:
            numerator: [S, n].
            denominator: [S, n]; 0 where an expression does not count.
            seeds: name of the set of seeds that the rows belong to.
        """
        counted = int((np.asarray(denominator) != 0).any(0).sum())
        top, bottom = self.sums(numerator), self.sums(denominator)
        total = float(bottom.sum() / len(bottom))
        if total == 0:
            return Crossed(math.nan, {seeds: np.full(top.shape, math.nan)}, counted)
        value = float(top.sum() / len(top)) / total
        return Crossed(value, {seeds: (top - value * bottom) / total}, counted)

    def mean(self, values: np.ndarray, seeds: str) -> Crossed:
        """Mean of values [S, n] over expressions and seeds, as gIoU; a NaN does not count."""
        known = ~np.isnan(values)
        return self.ratio(np.where(known, values, 0.0), known.astype(float), seeds)


def decomposed(influence: Sequence[np.ndarray]) -> Variance:
    """Variance of sum over sets of the mean over seeds of the sum over images.

    Args:
        influence: of each set of independent seeds [..., S, I], I at least 2; sets differ in S alone. One of a single row is no sample of
            seeds and adds no variance of seeds.
    """
    images = influence[0].shape[-1]
    by_seed, by_seed_squared, interaction, interaction_squared = (np.zeros(influence[0].shape[:-2]) for _ in range(4))
    for values in influence:
        seeds = values.shape[-2]
        if seeds == 1:
            continue
        totals = values.sum(-1)
        component = totals.var(-1, ddof=1) / seeds
        by_seed = by_seed + component
        by_seed_squared = by_seed_squared + component**2 / (seeds - 1)
        centred = values - values.mean(-1, keepdims=True) - values.mean(-2, keepdims=True) + values.mean((-2, -1), keepdims=True)
        freedom = (seeds - 1) * (images - 1)
        component = images / seeds * (centred**2).sum((-2, -1)) / freedom
        interaction = interaction + component
        interaction_squared = interaction_squared + component**2 / freedom
    effect = sum((values.mean(-2) for values in influence), np.zeros(()))
    by_image = images * effect.var(-1, ddof=1)
    alone = np.maximum(by_image - interaction, 0.0)
    image_freedom = _degrees_of_freedom(effect)
    return Variance(
        by_seed,
        alone,
        np.divide(by_seed**2, by_seed_squared, out=np.ones_like(by_seed), where=by_seed_squared > 0),
        np.maximum(np.divide(alone**2, by_image**2 / image_freedom + interaction_squared, out=np.ones_like(alone), where=alone > 0), 1.0),
    )


def _degrees_of_freedom(effect: np.ndarray) -> np.ndarray:
    """Degrees of freedom of the variance of [..., I]: those of a normal sample whose variance is known as well, I - 1 at most.

    Where few images carry a statistic, as large objects carry cIoU, its variance is known worse than I says (the "effective number of
    clusters" of Carter, Schnepel and Steigerwald, 2017, from the fourth moment).
    """
    images = effect.shape[-1]
    squares = (effect - effect.mean(-1, keepdims=True)) ** 2
    second, fourth = squares.sum(-1) ** 2, (squares**2).sum(-1)
    spread = fourth - second / images
    return np.minimum(np.divide(2 * second, spread, out=np.full_like(second, np.inf), where=spread > 0), images - 1)


def _half_width(variance: Variance, level: float) -> float:
    total = float(variance.seeds + variance.images)
    if total == 0:
        return 0.0
    parts = (float(part) for part in (variance.seeds, variance.images, variance.seeds_df, variance.images_df))
    return critical_value(level, *parts) * math.sqrt(total)


def _crossing(excess: Any, start: float, step: float) -> float:
    """Where `excess`, positive at `start`, first falls below 0 on the side of `step`; infinite where it does not."""
    if step == 0:
        return start
    inner, reach = start, 0.1 * step
    for _ in range(60):
        outer = start + reach
        if excess(outer) < 0:
            return float(brentq(excess, inner, outer, xtol=1e-9 * abs(step)))
        inner, reach = outer, 1.3 * reach
    return math.copysign(math.inf, step)
