"""Families of tests, named before the run: a result is starred only after Holm's correction within its family.

Holm (1979): the probability of any false star in a family is at most alpha, however its tests depend on one another.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from segcompass.stats.crossed import Estimate


@dataclass(frozen=True)
class Family:
    """A named set of tests that are corrected together."""

    name: str
    tests: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.tests or len(set(self.tests)) < len(self.tests):
            raise ValueError(f"family {self.name}: needs tests, each named once")


@dataclass(frozen=True)
class Result:
    """One test of a family; a row of the result table."""

    test: str
    estimate: float
    low: float
    high: float
    """The interval of this test alone: it is not widened for the others of the family."""
    p: float
    p_holm: float
    family: str
    seeds: int
    images: int
    samples: int

    def starred(self, alpha: float) -> bool:
        """Whether the corrected p-value is at most alpha; never where it is unknown."""
        return self.p_holm <= alpha


def corrected(family: Family, estimates: Mapping[str, Estimate]) -> list[Result]:
    """The results of a family, in its order.

    Args:
        family: as it was named before the run.
        estimates: of exactly its tests; one that could not be measured is NaN.

    Raises:
        ValueError: the estimates are not those that the family names.
    """
    if set(estimates) != set(family.tests):
        missing, foreign = sorted(set(family.tests) - set(estimates)), sorted(set(estimates) - set(family.tests))
        raise ValueError(f"family {family.name}: without results {missing}, with others {foreign}")
    found = [estimates[test] for test in family.tests]
    rows = zip(family.tests, found, holm(np.array([one.p for one in found])), strict=True)
    return [
        Result(test, one.value, one.low, one.high, one.p, float(p_holm), family.name, one.seeds, one.images, one.samples)
        for test, one, p_holm in rows
    ]


def result_table(results: Sequence[Result]) -> pd.DataFrame:
    """One row a result, columns as the fields of `Result`."""
    return pd.DataFrame([asdict(result) for result in results], columns=list(Result.__dataclass_fields__))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm-corrected p-values [n] of one family; NaN, a test that was not made, stays NaN and does not count."""
    corrected = np.full(len(p_values), math.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    return corrected
