"""Every branch of the rule that decides claims, and that small changes of a result move a verdict by one step at most."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcompass.claims.verdict import Rule, verdict
from segcompass.stats.families import Result

EFFECT = Rule("effect", smallest=3.0, alpha=0.05, imbalance=1.25)
ABSENCE = replace(EFFECT, expects="absence")
NAN = math.nan


def result(estimate: float, low: float, high: float, p_holm: float | None = None) -> Result:
    """With a corrected p-value that agrees with the interval, unless one is given."""
    p = p_holm if p_holm is not None else (0.01 if low > 0 or high < 0 else 0.5)
    return Result("claim", estimate, low, high, p / 2, p, "family", seeds=3, images=120, samples=300)


QUIET = result(0.1, -1.0, 1.2)


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (result(4.0, 1.0, 7.0), "supported"),
        (result(3.0, 0.1, 5.9), "supported"),
        (result(2.0, 1.0, 2.9), "refuted"),  # there, and too small to matter
        (result(0.5, -1.0, 2.0), "refuted"),  # not told from 0, and large effects are excluded
        (result(-4.0, -6.0, -2.0), "refuted"),
        (result(2.9, 1.0, 4.8), "undecided"),  # there; large enough or not
        (result(4.0, -1.0, 9.0), "undecided"),
        (result(4.0, 1.0, 7.0, p_holm=0.06), "undecided"),  # no star after correction
        (result(4.0, -0.1, 8.1, p_holm=0.01), "undecided"),  # a permutation test's star alone is not enough
        (result(2.0, 1.0, 3.0), "undecided"),  # the interval's end is not below the smallest of interest
    ],
)
def test_an_effect_that_is_expected(found: Result, outcome: str) -> None:
    assert verdict(found, EFFECT, QUIET, {"mass on thought tokens": 1.1}).outcome == outcome


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (result(0.5, -1.0, 2.0), "supported"),
        (result(1.0, 0.5, 1.5), "supported"),  # there, and too small to matter
        (result(-4.0, -6.0, -2.0), "refuted"),
        (result(4.0, 1.0, 7.0), "refuted"),
        (result(4.0, 1.0, 7.0, p_holm=0.2), "undecided"),
        (result(0.5, -3.5, 2.0), "undecided"),
        (result(2.0, 1.0, 3.5), "undecided"),
    ],
)
def test_absence_that_is_expected(found: Result, outcome: str) -> None:
    assert verdict(found, ABSENCE, QUIET, {}).outcome == outcome


@pytest.mark.parametrize("rule", [EFFECT, ABSENCE])
def test_a_twin_that_fires_and_controls_out_of_balance_decide_nothing(rule: Rule) -> None:
    strong = result(9.0, 8.0, 10.0)
    fired = verdict(strong, rule, result(-1.0, -1.5, -0.5), {})
    assert fired.outcome == "invalid" and fired.reason == "the null twin shows -1 [-1.5, -0.5], where nothing can be found"
    assert verdict(strong, rule, result(1.0, 0.5, 1.5, p_holm=0.06), {}).outcome != "invalid", "no star after the twins' own correction"
    for ratio in (2.9, 0.3, NAN):
        unbalanced = verdict(strong, rule, QUIET, {"frequency": 1.0, "mass on thought tokens": ratio})
        assert unbalanced.outcome == "invalid" and "mass on thought tokens" in unbalanced.reason
    assert verdict(strong, rule, None, {"mass": 1.25, "frequency": 0.8}).outcome != "invalid"


@pytest.mark.parametrize("rule", [EFFECT, ABSENCE])
@pytest.mark.parametrize("unknown", ["estimate", "low", "high", "p_holm"])
def test_what_is_not_known_decides_nothing(rule: Rule, unknown: str) -> None:
    gap: dict[str, Any] = {unknown: NAN}
    strong = result(9.0, 8.0, 10.0)
    assert verdict(replace(strong, **gap), rule, QUIET, {}).outcome == "undecided"
    assert verdict(strong, rule, replace(QUIET, **gap), {}).outcome == "undecided"
    unbounded = verdict(result(9.0, -math.inf, math.inf, p_holm=0.01), rule, None, {})
    assert unbounded.outcome == "undecided", "Fieller's set without bounds"


@given(st.floats(-10, 10), st.floats(0.01, 10), st.sampled_from([EFFECT, ABSENCE]))
def test_more_evidence_never_turns_a_verdict_into_its_opposite(estimate: float, half: float, rule: Rule) -> None:
    wide = verdict(result(estimate, estimate - half, estimate + half), rule, None, {}).outcome
    narrow = verdict(result(estimate, estimate - half / 2, estimate + half / 2), rule, None, {}).outcome
    assert wide in (narrow, "undecided")


@pytest.mark.parametrize("fault", [{"smallest": 0.0}, {"alpha": 1.0}, {"imbalance": 0.9}, {"smallest": NAN}])
def test_a_rule_without_sense_is_refused(fault: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a rule needs"):
        replace(EFFECT, **fault)  # type: ignore[arg-type]
