"""Metrics are audited before they may decide: does a metric repeat, and does it know a trained dictionary and the truth?

* variation: sd over runs that differ by seed alone / |mean|, or the smallest effect of interest where that is greater, so that an effect
  may be absent; 0 at best, and of a metric that is not read of the run (a dictionary's own, of which a study trains one) unknown.
* trained - untrained: the metric of a trained dictionary less that of a random one of the same sparsity.
* trained - frozen: less that of a dictionary whose decoder stayed random. Shown, and no reason to fail: that frozen decoders do as well is
  what the literature finds, and what a claim of its own decides.
* true - shuffled: the metric less its own where the truth is another's: on interfaces that were taught shuffled targets, on shuffled
  labels, on random tokens.
* over dictionaries and over training, where the study trains several: `segcompass.claims.repeats`.

A metric fails if it varies more than the study allows, or if a comparison that was made does not tell the two apart. Claims that the study
lists as `about_use` say what masks rely on, whatever dictionary it is read by: an untrained one, on which an interface was trained just so,
is no null of theirs, nor is one that was trained for less long, and these comparisons do not bind them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from segcompass.claims.evidence import SEEDS, UNKNOWN, Counted, Evidence
from segcompass.claims.qualities import mean_quality, of_variant, quality_difference
from segcompass.claims.repeats import repeated
from segcompass.claims.sources import Sources, audited_metric
from segcompass.stats.crossed import Crossed, Estimate
from segcompass.study.claims import BatteryEstimand, ClaimSettings, CorrelationEstimand, PurityEstimand, variants_of
from segcompass.study.repeated import Repeats

COMPARISONS = ("untrained", "frozen", "shuffled")
FAILING = {"untrained": "an untrained dictionary", "shuffled": "what is shuffled"}
"""Comparisons that must tell a metric from another, and from what."""
CONTROLS = {"sae_mse": "random_sae_mse", "coverage": "random_coverage"}
"""Quality -> the record column of the same of an untrained dictionary."""
CHANCE = "random_token_coverage"
"""The coverage that random tokens reach."""


def audited(
    claims: Mapping[str, ClaimSettings],
    sources: Sources,
    controls: Mapping[str, str],
    variation: float,
    repeats: Mapping[str, Repeats] | None = None,
) -> list[dict[str, Any]]:
    """One row a metric that decides a claim: `metric`, `claims`, `variation`, three comparisons with `_low` and `_high`, what
    `segcompass.claims.repeats.repeated` adds, `fails`, why.

    Args:
        claims: the stated claims by name.
        sources: of the study.
        controls: `untrained`, `frozen` -> the variant whose dictionary is such a one, where the study has it.
        variation: largest one.
        repeats: dictionaries that differ by `seeds` alone, and `checkpoints` of one, where the study trains them.
    """
    rows: dict[str, dict[str, Any]] = {}
    # What a metric is like is asked of one dictionary's runs wherever a claim is of them: of a difference of two, only whether it repeats.
    for name, claim in sorted(claims.items(), key=lambda one: len(variants_of(one[1].estimand)) > 1):
        metric = audited_metric(claim.estimand)
        if not metric:
            continue
        if metric not in rows:
            row = _row(claim, sources, controls) | repeated(claim, sources, repeats or {})
            rows[metric] = {"metric": metric, "claims": [], **row, "fails": failure(row, variation)}
        rows[metric]["claims"].append(name)
    return list(rows.values())


def failure(row: Mapping[str, Any], variation: float, about_use: bool = False) -> str:
    """Why a metric may not decide a claim; empty where it may.

    Args:
        row: of `audited`.
        variation: largest one.
        about_use: whether the claim says what masks rely on, and nothing of what a dictionary learnt.
    """
    spread, why = row["variation"], []
    if spread is not None and spread > variation:
        why.append(f"varies by {spread:.0%} over seeds, at most {variation:.0%} may decide")
    for name, other in FAILING.items():
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        if not (about_use and name == "untrained") and low is not None and high is not None and low <= 0 <= high:
            why.append(f"is not told from that of {other} ({row[name]:.3g} [{low:.3g}, {high:.3g}])")
    over = row.get("over_dictionaries")
    if over is not None and over > variation:
        why.append(f"varies by {over:.0%} over dictionaries that differ by seed alone, at most {variation:.0%} may decide")
    low, high = row.get("growth_low"), row.get("growth_high")
    if not about_use and low is not None and low <= 0:
        why.append(f"is not shown to grow with a dictionary's training ({row['growth']:.3g} [{low:.3g}, {high:.3g}])")
    return "; ".join(why)


def _row(claim: ClaimSettings, sources: Sources, controls: Mapping[str, str]) -> dict[str, Any]:
    values, compared = _measured(claim, sources, controls)
    scale = max(abs(float(np.mean(values))), claim.rule.smallest) if len(values) > 1 else math.nan
    spread = float(np.std(values, ddof=1)) / scale if len(values) > 1 else math.nan
    row: dict[str, Any] = {"variation": _known(spread)}
    for name in COMPARISONS:
        found = compared.get(name, UNKNOWN)
        row |= {name: _known(found.value), f"{name}_low": _known(found.low), f"{name}_high": _known(found.high)}
    return row


def _measured(claim: ClaimSettings, sources: Sources, controls: Mapping[str, str]) -> tuple[Sequence[float], dict[str, Estimate]]:
    """The metric of every seed, and the comparisons that can be made."""
    estimand, level = claim.estimand, sources.level
    if isinstance(estimand, PurityEstimand):
        found = {"untrained": sources.evidence(estimand, [], claim.rule.population).estimate(level)}
        return [], found | {"shuffled": sources.true_purity(estimand).estimate(level)}
    variants = variants_of(estimand)
    others = {name: controls[name] for name in ("untrained", "frozen") if name in controls}
    others |= {"shuffled": claim.rule.twin[variants[0]]} if isinstance(claim.rule.twin, dict) else {}
    if isinstance(estimand, CorrelationEstimand):
        return _quality(sources.points, estimand.quality, variants[0], others, level)
    assert isinstance(estimand, BatteryEstimand)
    effect = sources.evidence(estimand, variants, claim.rule.population)
    if len(variants) > 1:  # a difference of variants has no dictionary of its own
        return _by_seed(effect), {}
    pairs = {name: sources.evidence(estimand, [variants[0], other], claim.rule.population) for name, other in others.items()}
    return _by_seed(effect), {name: pair.estimate(level) for name, pair in pairs.items()}


def _by_seed(evidence: Evidence) -> list[float]:
    if not isinstance(evidence, Counted):
        return []
    return [float(value) for value in evidence.effect.value + evidence.effect.influence[SEEDS].sum(1)]


def _quality(
    points: pd.DataFrame, quality: str, variant: str, others: Mapping[str, str], level: float
) -> tuple[Sequence[float], dict[str, Estimate]]:
    """A quality of each expression: seed by seed, beside that of other dictionaries and of what is not the truth."""
    mine = of_variant(points, variant)
    found: dict[str, Crossed | None] = {}
    if quality in CONTROLS:
        found["untrained"] = quality_difference(mine, quality, mine, CONTROLS[quality])
    else:
        found |= {name: quality_difference(mine, quality, of_variant(points, other), quality) for name, other in others.items()}
    if quality == "coverage":
        found["shuffled"] = quality_difference(mine, quality, mine, CHANCE)
    return mean_quality(mine, quality), {name: pair.estimate(level) for name, pair in found.items() if pair is not None}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
