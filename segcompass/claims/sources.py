"""From the artefacts of a study to what each claim is judged by: one `ClaimRecord` a claim.

A claim reads the runs of its variants and of its twin's, or the scores of its dictionary, and from each of these artefacts the digest of
its own rule that stood when the artefact was made.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from segcompass.causal.measurements import geometric_mean
from segcompass.claims.battery import Battery
from segcompass.claims.contrasts import ALL, Contrasts, tested_expressions
from segcompass.claims.evidence import UNMEASURED, ClaimRecord, Counted, Evidence, Permuted, Stated
from segcompass.concepts.accuracy import GIVEN, accuracy_points
from segcompass.stats.correlation import correlation, remainders
from segcompass.stats.crossed import Estimate
from segcompass.stats.permutation import blocks, permuted
from segcompass.study.claims import (
    BatteryEstimand,
    ClaimSettings,
    CorrelationEstimand,
    DifferenceEstimand,
    Estimand,
    GapEstimand,
    PurityEstimand,
    variants_of,
)

Rules = Mapping[str, str]
"""Claim -> digest of its rule, as an artefact records them."""
CHANCE = {"auroc": 0.5}
"""Metric of purity -> its value where labels mean nothing."""


class Sources:
    """Everything of a study that claims are decided by."""

    def __init__(
        self,
        records: pd.DataFrame,
        measurements: pd.DataFrame,
        balances: pd.DataFrame,
        purity: pd.DataFrame,
        rules: Mapping[tuple[str, str], Mapping[str, Rules]],
        level: float,
        permutations: int,
        twins: int,
        seed: int,
    ) -> None:
        """Takes:

        records: of every evaluated run.
        measurements, balances: of every run that the battery edits, as `segcompass.causal.measurements` reads them.
        purity: purity.csv of every scored dictionary, its name in column `sae`.
        rules: (kind of evidence: `evaluate`, `battery` or `concepts`; variant or dictionary) -> artefact -> the rules it records.
        level: of the intervals.
        permutations: of images, for the p-value of what has no labels to exchange.
        twins: how many of these are kept as permuted twins.
        seed: of permutations.
        """
        self.tested = tested_expressions(records)
        self.contrasts = Contrasts(self.tested)
        self.points = accuracy_points(self.tested)
        self.battery = Battery(measurements, permutations, twins, level, seed)
        self.balances, self.purity, self.rules = balances, purity, rules
        self.level, self.permutations, self.twins, self.seed = level, permutations, twins, seed

    def record(self, name: str, claim: ClaimSettings) -> ClaimRecord:
        """What the claim of this name is judged by."""
        estimand, rule = claim.estimand, claim.rule
        own = variants_of(estimand)
        effect = self.evidence(estimand, own, rule.population)
        twin = None
        if isinstance(rule.twin, dict):
            twin = self.evidence(estimand, [rule.twin.get(variant, variant) for variant in own], rule.population)
        elif isinstance(estimand, PurityEstimand):
            twin = self._shuffled_purity(estimand)
        read = [*own, *(rule.twin.values() if isinstance(rule.twin, dict) else ())]
        return ClaimRecord(
            effect,
            twin,
            self._balance(estimand, rule.controls),
            self._rules(name, estimand, read),
            audited_metric(estimand),
            "" if effect.estimate(self.level).seeds or isinstance(estimand, PurityEstimand) else self._missing(estimand),
        )

    def evidence(self, estimand: Estimand, variants: Sequence[str], population: str) -> Evidence:
        """An estimand's number with these variants in place of its own; `UNMEASURED` where nothing measured it."""
        match estimand:
            case DifferenceEstimand():
                found = self.contrasts.difference(variants[0], variants[1], estimand.measure, population)
                return UNMEASURED if found is None else Counted(found)
            case GapEstimand():
                gap = self.contrasts.gap_closed(variants[0], variants[1], population)
                return UNMEASURED if gap is None else Counted(*gap)
            case CorrelationEstimand():
                return self._correlation(estimand, variants[0], population)
            case PurityEstimand():
                return self._purity(estimand)
            case BatteryEstimand():
                return self.battery.evidence(estimand, variants, population)

    def _correlation(self, estimand: CorrelationEstimand, variant: str, population: str) -> Evidence:
        """Over all expressions of the population at once; p-values by permuting images, as the stage `correlate` does."""
        rows = self.points[self.points["variant"] == variant]
        if population != ALL:
            rows = rows[rows["benchmark"] == population]
        runs = [run.sort_values(["benchmark", "split", "sample_id"]) for _, run in rows.groupby("seed", sort=True)]
        if not runs:
            return UNMEASURED
        images = runs[0]["image"].to_numpy()
        given = [name for name in GIVEN if all(run[name].notna().all() for run in runs)]
        columns = (estimand.quality, estimand.accuracy, given)
        made = [remainders(estimand.coefficient, *(run[column].to_numpy(float) for column in columns)) for run in runs]
        found = correlation(made, images, self.level)
        if math.isnan(found.value):
            return UNMEASURED
        drawn = permuted(made, blocks(images), self.permutations, self.seed)
        middle = float(drawn.mean())
        far = np.sort(np.abs(drawn - middle))

        def p(distance: np.ndarray) -> np.ndarray:
            return np.asarray((1 + len(far) - np.searchsorted(far, distance - 1e-12)) / (1 + len(far)))

        estimate = Estimate(
            found.value, found.low, found.high, float(p(np.array(abs(found.value - middle)))), found.seeds, found.images, found.samples
        )
        return Stated(estimate, Permuted(drawn[: self.twins], p(np.abs(drawn[: self.twins] - middle))))

    def _purity(self, estimand: PurityEstimand) -> Evidence:
        row = self._purity_row(estimand)
        return UNMEASURED if row is None else self._of_interval(row["difference"], row["difference_low"], row["difference_high"])

    def true_purity(self, estimand: PurityEstimand) -> Evidence:
        """The dictionary's own purity, less that under shuffled labels."""
        row, name = self._purity_row(estimand), "shuffled_difference"
        return UNMEASURED if row is None else self._of_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])

    def _shuffled_purity(self, estimand: PurityEstimand) -> Evidence:
        """The dictionary's own purity under shuffled labels, less chance."""
        row = self._purity_row(estimand)
        chance = CHANCE[estimand.metric]
        if row is None:
            return UNMEASURED
        return self._of_interval(*(row[name] - chance for name in ("shuffled", "shuffled_low", "shuffled_high")))

    def _purity_row(self, estimand: PurityEstimand) -> dict[str, Any] | None:
        wanted = {"sae": estimand.of, "metric": estimand.metric, "attribute": estimand.attribute, "value": "(mean)"}
        rows = self.purity
        for column, value in wanted.items():
            rows = rows[rows[column] == value] if column in rows else rows.iloc[:0]
        return {str(key): value for key, value in rows.iloc[0].items()} if len(rows) else None

    def _of_interval(self, value: float, low: float, high: float) -> Stated:
        """An estimate of a bootstrap over images, its p-value that of a normal statistic with such an interval; there is one dictionary, so
        what another seed would give is unknown."""
        error = (high - low) / (2 * float(norm.ppf((1 + self.level) / 2)))
        p = float(2 * norm.sf(abs(value) / error)) if error > 0 else math.nan
        return Stated(Estimate(value, low, high, p, 1, 0, 0), Permuted(np.zeros(0), np.zeros(0)))

    def _balance(self, estimand: Estimand, controls: Sequence[str]) -> dict[str, float]:
        """Geometric means over the runs of the variants, and over sizes where the estimand has them all; what no run reports is unknown."""
        if not isinstance(estimand, BatteryEstimand):
            return {}
        rows = self.balances
        rows = rows[(rows["intervention"] == estimand.intervention) & rows["arm"].isin([estimand.arm, estimand.control])]
        rows = rows[rows["variant"].isin(variants_of(estimand))]
        rows = rows if estimand.at is None else rows[rows["at"] == estimand.at]
        found: dict[str, float] = {}
        for quantity in controls:
            part = rows[rows["quantity"] == quantity]
            of_types = {
                f"{quantity} on {kind} tokens": geometric_mean(ratios["ratio"].to_numpy())
                for kind, ratios in part.groupby(part["token_type"].astype(str))
            }
            found |= of_types or {quantity: math.nan}
        return found

    def _rules(self, name: str, estimand: Estimand, read: Sequence[str]) -> dict[str, str | None]:
        if isinstance(estimand, PurityEstimand):
            keys = [("concepts", estimand.of)]
        else:
            kind = "battery" if isinstance(estimand, BatteryEstimand) else "evaluate"
            keys = [(kind, variant) for variant in dict.fromkeys(read)]
        return {artefact: rules.get(name) for key in keys for artefact, rules in self.rules.get(key, {}).items()}

    def _missing(self, estimand: Estimand) -> str:
        """Why there is no number."""
        if isinstance(estimand, BatteryEstimand):
            wanted = f"`{estimand.measure}` under {estimand.intervention}, {estimand.arm}"
            return f"no run of {' and of '.join(variants_of(estimand))} measured {wanted}"
        return f"nothing was measured for {' and '.join(variants_of(estimand))}"


def audited_metric(estimand: Estimand) -> str:
    """The name under which the audit lists what an estimand measures; empty for scores of masks and thoughts, whose truth is the data's."""
    match estimand:
        case CorrelationEstimand():
            return estimand.quality
        case PurityEstimand():
            return f"purity of {estimand.attribute} ({estimand.metric})"
        case BatteryEstimand():
            control = f" - {estimand.control}" if estimand.control else ""
            return f"{estimand.intervention}: {estimand.figure} of {estimand.measure}, {estimand.arm}{control}"
        case _:
            return ""
