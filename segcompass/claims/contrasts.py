"""Measures of variants and their differences on the tested expressions, over seeds and images (`segcompass.stats.crossed`).

Variants are paired: expression by expression, and seed by seed over the seeds that both have. `all` benchmarks together is the mean of
their means, each counted alike. Settings are chosen on `val`, so `val` is not tested where a benchmark has another split.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from segcompass.protocols.scoring import HEADLINE
from segcompass.stats.crossed import Crossed, Grid

MEASURES = {
    "gIoU": "iou",
    "thought accuracy": "thought_correct",
    "considered thoughts": "thought_considered",
    "valid answers": "format_valid",
    "gIoU, gold thought": "oracle_thought_iou",
}
"""Measure -> the record column whose mean it is."""
ALL = "all"
"""Every benchmark, each counted alike."""


def tested_expressions(records: pd.DataFrame) -> pd.DataFrame:
    """Records of all splits but `val`, which settings are chosen on; of a benchmark without another split, those of `val`."""
    held_out = records["split"] != "val"
    return records[held_out | ~held_out.groupby(records["benchmark"]).transform("any")]


class Contrasts:
    """Measures and differences of the variants in some records."""

    def __init__(self, records: pd.DataFrame) -> None:
        """Takes the records of all runs on the same expressions."""
        keys = ["benchmark", "split", "sample_id"]
        self.frame = records.set_index(["variant", "seed", *keys]).sort_index()
        first = records.drop_duplicates(keys).set_index(keys).sort_index()
        self.grid = Grid(first["image"].to_numpy())
        self._benchmark = first.index.get_level_values("benchmark").to_numpy()
        self.benchmarks = [name for name in HEADLINE if (self._benchmark == name).any()]
        self.seeds = {str(name): sorted(set(part["seed"])) for name, part in records.groupby("variant", sort=False)}
        """Variant -> its seeds."""

    def common_seeds(self, variants: Sequence[str]) -> list[int]:
        """Seeds that all of some variants have; none where one of them was not run."""
        return sorted(set.intersection(*(set(self.seeds.get(name, [])) for name in variants)))

    def value(self, variant: str, measure: str, benchmark: str, seeds: Sequence[int]) -> Crossed | None:
        """A measure of some of a variant's runs; None where it is unknown of an expression of the benchmark, or there are no such runs."""
        if benchmark == ALL:
            parts = [self.value(variant, measure, name, seeds) for name in self.benchmarks]
            known = [part for part in parts if part is not None]
            if len(known) < len(parts) or not known:
                return None
            total = known[0]
            for part in known[1:]:
                total = total + part
            return total * (1 / len(known))
        here = self._benchmark == benchmark
        if not seeds or not here.any():
            return None
        values = np.stack([np.asarray(self.frame.loc[(variant, seed), MEASURES[measure]], float) for seed in seeds])
        if np.isnan(values[:, here]).any():
            return None
        return self.grid.ratio(np.where(here, values, 0.0), np.broadcast_to(here.astype(float), values.shape), "seeds")

    def difference(self, variant: str, other: str, measure: str, benchmark: str) -> Crossed | None:
        """A measure of one variant minus that of another, over their common seeds; None where either is unknown."""
        seeds = self.common_seeds([variant, other])
        mine, others = (self.value(name, measure, benchmark, seeds) for name in (variant, other))
        return None if mine is None or others is None else mine - others

    def mean(self, variant: str, measure: str, benchmark: str) -> Crossed | None:
        """A measure of all of a variant's runs."""
        return self.value(variant, measure, benchmark, self.seeds.get(variant, []))

    def gap_closed(self, variant: str, other: str, benchmark: str) -> tuple[Crossed, Crossed] | None:
        """What a variant gains in gIoU over another, and what gold thoughts would gain it: their quotient is the share that is closed."""
        seeds = self.common_seeds([variant, other])
        mine, others, gold = (
            self.value(name, measure, benchmark, seeds)
            for name, measure in ((variant, "gIoU"), (other, "gIoU"), (other, "gIoU, gold thought"))
        )
        return None if mine is None or others is None or gold is None else (mine - others, gold - others)
