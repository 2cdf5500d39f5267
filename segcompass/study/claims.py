"""Claims as data: what is claimed, which number decides it and by which rule, written before the run.

A claim's rule is all that this section says of it, with the level, the balance and the other claims of its family: `rule_digests` makes one
digest a claim of these. Every artefact records the digests of its day (`segcompass.provenance.freeze`), so the ledger knows a rule that
was written, or changed, after the results that it decides.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from segcompass.study.section import Section

Words = Annotated[str, Field(pattern=r"^[a-z]+(_[a-z0-9]+)*$")]
"""Lower-case words joined by `_`."""
OfVariants = Annotated[str, Field(pattern=r"^[a-z0-9_]+( - [a-z0-9_]+)?$")]
"""`variant`, or `variant - other` for the difference of two."""
Difference = Annotated[str, Field(pattern=r"^[a-z0-9_]+ - [a-z0-9_]+$")]
"""`variant - other`."""


MEASURES = {
    "curve": ("score", "iou", "kept_score", "removed_score", "kept_iou", "removed_iou"),
    "dose": ("score", "monotone", "rise"),
    "composition": ("effect_a", "effect_b", "effect_both", "interaction"),
    "attribution": ("rank_correlation", "rank_correlation_mask", "total", "difference", "completeness_residual"),
    "traceability": (
        *("score", "mask_score", "observed", "observed_mask"),
        *("predicted", "predicted_integrated", "predicted_permuted", "predicted_mask"),
    ),
    "swap": ("cause", "cause_iou", "isolation", "isolation_iou", "stays", "stays_iou"),
    "thought_swap": ("moved", "moved_iou", "iou_change"),
    "paths": ("cell", "shapley", "total", "shapley_score", "total_score"),
}
"""Intervention -> what it measures; the module of each in `segcompass/causal/` says how."""


class DifferenceEstimand(Section):
    """A measure of one variant minus that of another, paired over seeds and expressions."""

    kind: Literal["difference"]
    of: Difference
    measure: Literal["gIoU", "thought accuracy", "considered thoughts", "valid answers"]
    """A fraction."""


class GapEstimand(Section):
    """The share of what gold thoughts would add to a variant in gIoU that another one gains."""

    kind: Literal["gap_share"]
    of: Difference
    """The one that gains, and the one that is also evaluated with gold thoughts."""


class CorrelationEstimand(Section):
    """A coefficient over expressions that have a target, the mean of those of a variant's runs (`correlate`)."""

    kind: Literal["correlation"]
    of: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """The variant."""
    coefficient: Literal["pearson", "spearman", "partial"]
    """`partial` is Spearman's with area, number of targets, length and the thought's correctness held fixed."""
    quality: Literal["heat_iou", "sae_mse", "coverage"]
    accuracy: Literal["iou", "dice_loss"]


class PurityEstimand(Section):
    """How much better concepts of a dictionary name an attribute's values than those of its untrained twin (`score_concepts`)."""

    kind: Literal["purity"]
    of: str
    """The dictionary."""
    metric: Literal["auroc"]
    attribute: Literal["colour", "shape", "size", "pattern", "place"]


class BatteryEstimand(Section):
    """A figure of what the stages `intervene` and `exchange` measure on a variant's runs, or its difference between two variants.

    `mean` is the measure's mean over samples; `area` its mean over the sizes of a curve on a logarithmic axis; `disentanglement` half of
    its mean and that of `over`, causes and isolations; `share` its sum over that of `over`; `slope` and `r2` say how well `over` predicts
    it. Each is that of `arm`, less that of `control` where one is named, pair by pair (`segcompass/claims/battery.py` has the formulas).
    """

    kind: Literal["battery"]
    of: OfVariants
    intervention: Literal["curve", "dose", "composition", "attribution", "traceability", "swap", "thought_swap", "paths"]
    figure: Literal["mean", "area", "disentanglement", "share", "slope", "r2"]
    measure: Words
    over: Words | None
    """The second measure of `disentanglement`, `share`, `slope` and `r2`; null for the other figures."""
    arm: Words
    control: Words | None
    """The arm that is taken off; null for none."""
    at: str | None
    """Size, dose, attribute or path; null for all of them."""


Estimand = Annotated[DifferenceEstimand | GapEstimand | CorrelationEstimand | PurityEstimand | BatteryEstimand, Field(discriminator="kind")]


class RuleSettings(Section):
    """The rule by which an estimate decides (`segcompass/claims/verdict.py`)."""

    population: str
    """A benchmark, or `all` of those that are measured, each counted alike; always on the splits that settings were not chosen on."""
    expects: Literal["effect", "absence"]
    """`effect`: one of at least `smallest`. `absence`: none as large, on either side."""
    smallest: Annotated[float, Field(gt=0.0)]
    """Smallest effect of interest, in the estimand's unit."""
    family: Words
    """Claims that are corrected together (Holm)."""
    twin: dict[str, str] | Literal["permuted"]
    """Where nothing can be found: the same estimand with other variants in place of its own, such as those that were taught shuffled
    targets; or `permuted`, the same records with their labels exchanged."""
    controls: list[Literal["frequency", "mass", "norm"]]
    """What the edit and its control must have alike, of tokens of every type; empty where no edit is made."""


class ClaimSettings(Section):
    """One claim with the number and the rule that decide it."""

    sentence: str
    source: str
    """The place in the paper, or in the field's critique of it."""
    estimand: Estimand
    """The number that decides, signed so that the claim expects it above 0."""
    rule: RuleSettings


class UntestedClaim(Section):
    """A claim that this study cannot decide."""

    sentence: str
    source: str
    reason: str


class ClaimsSettings(Section):
    """The claims ledger: which claims are decided, and how. Everything of a rule is stated before the run."""

    alpha: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Largest corrected p-value of a result that counts; the level of the intervals is 1 - alpha."""
    imbalance: Annotated[float, Field(ge=1.0)]
    """Largest ratio, in either direction, between what an edit and its control touch."""
    variation: Annotated[float, Field(gt=0.0)]
    """Largest sd over runs that differ by seed alone of a metric that may decide a claim, as a share of its mean or, where that is greater,
    of the claim's smallest effect of interest."""
    about_use: list[str]
    """Claims that say what masks rely on, whatever dictionary it is read by. The audit asks that their metrics show more than a null twin,
    but not more than an untrained dictionary, on which an interface was trained as well. Claims of what training a dictionary adds, and of
    how a concept's quality goes with masks, do not belong here."""
    permutations: Annotated[int, Field(ge=20)]
    """Permuted twins of each family, by which the ledger's own rate of false positives is measured."""
    stated: dict[str, ClaimSettings]
    untested: dict[str, UntestedClaim]

    def in_order(self, names: Sequence[str]) -> "ClaimsSettings":
        """The same claims in the order of their names, which is that of the report."""
        stated, untested = ({name: part[name] for name in names if name in part} for part in (self.stated, self.untested))
        return self.model_copy(update={"stated": stated, "untested": untested})


def variants_of(estimand: Estimand) -> list[str]:
    """The variants whose runs an estimand reads; none for one of a dictionary."""
    return [] if isinstance(estimand, PurityEstimand) else estimand.of.split(" - ")


def rule_digests(claims: ClaimsSettings) -> dict[str, str]:
    """Claim -> a short digest of all that decides it: its own keys, the section's limits, and which claims share its family."""
    families: dict[str, list[str]] = {}
    for name, claim in claims.stated.items():
        families.setdefault(claim.rule.family, []).append(name)
    limits = {key: getattr(claims, key) for key in ("alpha", "imbalance", "variation")}
    return {
        name: _digest(
            limits
            | {"claim": claim.model_dump(mode="json"), "family": sorted(families[claim.rule.family])}
            | ({"about_use": True} if name in claims.about_use else {})
        )
        for name, claim in claims.stated.items()
    }


def claims_contradictions(
    claims: ClaimsSettings,
    experiments: Mapping[str, Mapping[str, object]],
    saes: Sequence[str],
    benchmarks: Sequence[str],
    golden: Sequence[str],
) -> Iterator[str]:
    """What in the section cannot be: sentences that begin with the key.

    Args:
        claims: the section.
        experiments: experiment -> its variants.
        saes: dictionaries that are scored.
        benchmarks: what a population may be, beside `all`.
        golden: variants that are also evaluated with gold thoughts.
    """
    known = {variant for variants in experiments.values() for variant in variants}
    for name in claims.about_use:
        if name not in claims.stated or not isinstance(claims.stated[name].estimand, BatteryEstimand):
            yield f"claims.about_use: `{name}` is no stated claim that the battery decides; take it off the list"
    for name, claim in claims.stated.items():
        place, estimand, rule = f"claims.stated.{name}", claim.estimand, claim.rule
        own = variants_of(estimand)
        if unknown := [variant for variant in own if variant not in known]:
            yield f"{place}.estimand.of: `{unknown[0]}` is a variant of neither experiment"
        if isinstance(estimand, PurityEstimand) and estimand.of not in saes:
            yield f"{place}.estimand.of: `{estimand.of}` is no dictionary that is scored; choose from {', '.join(saes)}"
        if isinstance(estimand, GapEstimand) and own[-1] not in golden:
            yield f"{place}.estimand.of: `{own[-1]}` is not evaluated with gold thoughts; add it to evaluation.oracle_thoughts"
        if isinstance(estimand, BatteryEstimand):
            if outside := [variant for variant in own if variant in known and variant not in experiments["interface"]]:
                yield f"{place}.estimand.of: the battery edits interfaces, and `{outside[0]}` is a variant of signals"
            measures = MEASURES[estimand.intervention]
            for key, measure in (("measure", estimand.measure), ("over", estimand.over)):
                if measure is not None and measure not in measures:
                    yield f"{place}.estimand.{key}: {estimand.intervention} has no `{measure}`; choose from {', '.join(measures)}"
            needs = estimand.figure not in ("mean", "area")
            if needs == (estimand.over is None):
                remedy = "name the second measure of the" if needs else "must be null for the figure"
                yield f"{place}.estimand.over: {remedy} {estimand.figure}"
        elif rule.controls:
            yield f"{place}.rule.controls: only an edit of the battery has controls; leave the list empty"
        if isinstance(rule.twin, dict):
            if unknown := [variant for variant in rule.twin if variant not in own]:
                yield f"{place}.rule.twin: `{unknown[0]}` is no variant of the estimand"
            if unknown := [variant for variant in rule.twin.values() if variant not in known]:
                yield f"{place}.rule.twin: `{unknown[0]}` is a variant of neither experiment"
            if not rule.twin:
                yield f"{place}.rule.twin: name the variants that stand in, or `permuted`"
        if rule.population != "all" and rule.population not in benchmarks:
            yield f"{place}.rule.population: `{rule.population}` is not measured; choose from {', '.join(['all', *benchmarks])}"
        if name in claims.untested:
            yield f"claims.untested.{name}: is also a stated claim; it is one or the other"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
