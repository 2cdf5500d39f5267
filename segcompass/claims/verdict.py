"""The rule by which a result decides a claim. It knows neither the study nor the claim, so nobody can bend it to either.

It stands beside the statistics and not among them: which error matters, and what a control that fails means, is no question of estimation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from segcompass.stats.families import Result

Outcome = Literal["supported", "refuted", "undecided", "invalid"]


@dataclass(frozen=True)
class Rule:
    """What a claim says of its effect, stated before the run."""

    expects: Literal["effect", "absence"]
    """`effect`: one of at least `smallest`, above 0. `absence`: none as large as `smallest`, on either side."""
    smallest: float
    """Smallest effect of interest, above 0, in the unit of the effect."""
    alpha: float
    """Largest corrected p-value of a result that counts; the intervals' level is 1 - alpha."""
    imbalance: float
    """Largest ratio, at least 1, between what an edit and its controls touch, in either direction."""

    def __post_init__(self) -> None:
        if not (self.smallest > 0 and 0 < self.alpha < 1 and self.imbalance >= 1):
            raise ValueError("a rule needs smallest > 0, alpha between 0 and 1 and imbalance >= 1")


@dataclass(frozen=True)
class Verdict:
    """An outcome, with the sentence that says why."""

    outcome: Outcome
    reason: str


def verdict(effect: Result, rule: Rule, twin: Result | None, balance: Mapping[str, float]) -> Verdict:
    """Decides a claim; the first line that applies.

    1. invalid: the null twin, in which nothing can be found, has a star (corrected p-value at most alpha, interval without 0).
    2. invalid: a control is out of balance, its ratio above `imbalance`, below its inverse, or unknown.
    3. undecided: the effect, its interval or its corrected p-value, or the twin's, is unknown.
    4. An effect is expected: supported if it has a star, its interval lies above 0 and its estimate is at least the smallest of interest;
       refuted if the whole interval lies below the smallest of interest, be the effect significant or not.
       Absence is expected (two one-sided tests: Schuirmann, 1987, at alpha / 2 each): supported if the whole interval lies within the
       smallest of interest of 0; refuted if there is a star, the interval excludes 0 and the estimate is at least as large.
    5. undecided: anything else.

    Args:
        effect: signed so that the claim expects it above 0.
        rule: of the claim.
        twin: the same estimand where nothing can be found, corrected in its own family; None for a claim that has no twin.
        balance: name of a control -> what the edit touches over what the control touches, such as mass on thought tokens.
    """
    if twin is not None and _found(twin, rule.alpha):
        return Verdict("invalid", f"the null twin shows {_shown(twin)}, where nothing can be found")
    for name, ratio in balance.items():
        if not 1 / rule.imbalance <= ratio <= rule.imbalance:
            return Verdict("invalid", f"controls are out of balance: {name} is {ratio:.2f} times theirs, at most {rule.imbalance:g} counts")
    for name, result in (("effect", effect), ("null twin", twin)):
        if result is not None and any(math.isnan(number) for number in (result.estimate, result.low, result.high, result.p_holm)):
            return Verdict("undecided", f"the {name} or its uncertainty is unknown ({result.seeds} seeds, {result.images} images)")
    if rule.expects == "effect":
        return _presence(effect, rule)
    return _absence(effect, rule)


def _presence(effect: Result, rule: Rule) -> Verdict:
    if _found(effect, rule.alpha) and effect.low > 0 and effect.estimate >= rule.smallest:
        return Verdict("supported", f"{_shown(effect)} lies above 0 and reaches {rule.smallest:g}")
    if effect.high < rule.smallest:
        return Verdict("refuted", f"{_shown(effect)} lies below {rule.smallest:g}")
    return Verdict("undecided", f"{_shown(effect)}, corrected p {effect.p_holm:.2g}, neither reaches nor excludes {rule.smallest:g}")


def _absence(effect: Result, rule: Rule) -> Verdict:
    if -rule.smallest < effect.low and effect.high < rule.smallest:
        return Verdict("supported", f"{_shown(effect)} lies within {rule.smallest:g} of 0")
    if _found(effect, rule.alpha) and abs(effect.estimate) >= rule.smallest:
        return Verdict("refuted", f"{_shown(effect)} excludes 0 and is as large as {rule.smallest:g}")
    return Verdict("undecided", f"{_shown(effect)} neither lies within {rule.smallest:g} of 0 nor excludes 0 with as large an estimate")


def _found(result: Result, alpha: float) -> bool:
    return result.starred(alpha) and (result.low > 0 or result.high < 0)


def _shown(result: Result) -> str:
    return f"{result.estimate:.3g} [{result.low:.3g}, {result.high:.3g}]"
