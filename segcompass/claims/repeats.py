"""Metrics measured again on dictionaries that differ by seed alone, and on checkpoints of one dictionary's training.

* over dictionaries: sd over the dictionaries / |mean|, or the smallest effect of interest where that is greater; of what is measured on
  interfaces, each dictionary's number is the mean over its interfaces' seeds. 0 at best.
* growth: the metric of the dictionary that was trained to the end less that of its first checkpoint, signed so that more is better, with
  its interval: over seeds and images, or, of scores of a dictionary, whose two intervals are over the same images and are joined as if
  they were of different ones, somewhat too wide. A metric of what training makes must grow.
* order: Kendall's tau between the metric and the steps of the checkpoints; 1 where it never falls. Shown, and no reason to fail: between
  neighbours that differ little it is chance.

Differences of two variants have no dictionary of their own, and are not measured again.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from segcompass.claims.evidence import UNKNOWN
from segcompass.claims.qualities import mean_quality, of_variant, quality_difference
from segcompass.claims.sources import Sources
from segcompass.stats.crossed import Estimate
from segcompass.study.claims import BatteryEstimand, ClaimSettings, CorrelationEstimand, PurityEstimand, variants_of
from segcompass.study.repeated import Repeats

LOWER_IS_BETTER = ("sae_mse",)


def repeated(claim: ClaimSettings, sources: Sources, repeats: Mapping[str, Repeats]) -> dict[str, Any]:
    """What can be said of a claim's metric: `over_dictionaries`; `checkpoints` (values), `growth` with `_low` and `_high`, `order`.

    Args:
        claim: a stated one.
        sources: of the study.
        repeats: `seeds` and `checkpoints`, each where the study has at least two.
    """
    row: dict[str, Any] = {}
    if "seeds" in repeats and (values := _values(claim, sources, repeats["seeds"])):
        scale = max(abs(float(np.mean(values))), claim.rule.smallest)
        row["over_dictionaries"] = float(np.std(values, ddof=1)) / scale
    if "checkpoints" in repeats and (values := _values(claim, sources, repeats["checkpoints"])):
        sign = -1.0 if _quality(claim) in LOWER_IS_BETTER else 1.0
        grown = _growth(claim, sources, repeats["checkpoints"])
        ends = sorted((sign * grown.low, sign * grown.high))
        order = float(kendalltau(range(len(values)), sign * np.array(values)).statistic)
        numbers = {"growth": sign * grown.value, "growth_low": ends[0], "growth_high": ends[1], "order": order}
        row |= {"checkpoints": values} | {name: value if math.isfinite(value) else None for name, value in numbers.items()}
    return row


def _values(claim: ClaimSettings, sources: Sources, of: Repeats) -> list[float]:
    """The metric of each dictionary; none where one is not measured, or where the claim is of another."""
    found = [_value(claim, sources, *one) for one in zip(of["saes"], of["variants"], strict=True)] if _is_of(claim, of) else []
    return found if len(found) > 1 and np.isfinite(found).all() else []


def _is_of(claim: ClaimSettings, of: Repeats) -> bool:
    """Whether the claim's number is that of one of these dictionaries."""
    if isinstance(claim.estimand, PurityEstimand):
        return claim.estimand.of in of["saes"]
    own = variants_of(claim.estimand)
    return len(own) == 1 and own[0] in of["variants"] and None not in of["variants"]


def _value(claim: ClaimSettings, sources: Sources, sae: str, variant: str | None) -> float:
    estimand = claim.estimand
    if isinstance(estimand, PurityEstimand):
        return _purity(estimand, sources, sae).value
    assert variant is not None
    if isinstance(estimand, CorrelationEstimand):
        means = mean_quality(of_variant(sources.points, variant), estimand.quality)
        return float(np.mean(means)) if means else math.nan
    return sources.evidence(estimand, [variant], claim.rule.population).estimate(sources.level).value


def _growth(claim: ClaimSettings, sources: Sources, of: Repeats) -> Estimate:
    estimand, first, last = claim.estimand, of["variants"][0], of["variants"][-1]
    if isinstance(estimand, PurityEstimand):
        at_first, at_last = (_purity(estimand, sources, of["saes"][end]) for end in (0, -1))
        half = math.hypot(at_first.high - at_first.low, at_last.high - at_last.low) / 2
        value = at_last.value - at_first.value
        return Estimate(value, value - half, value + half, math.nan, 1, 0, 0)
    assert first is not None and last is not None
    if isinstance(estimand, CorrelationEstimand):
        late, early = (of_variant(sources.points, variant) for variant in (last, first))
        difference = quality_difference(late, estimand.quality, early, estimand.quality)
        return UNKNOWN if difference is None else difference.estimate(sources.level)
    assert isinstance(estimand, BatteryEstimand)
    return sources.evidence(estimand, [last, first], claim.rule.population).estimate(sources.level)


def _purity(estimand: PurityEstimand, sources: Sources, sae: str) -> Estimate:
    return sources.evidence(estimand.model_copy(update={"of": sae}), [], "all").estimate(sources.level)


def _quality(claim: ClaimSettings) -> str:
    return claim.estimand.quality if isinstance(claim.estimand, CorrelationEstimand) else ""
