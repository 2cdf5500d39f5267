"""The claims ledger as a page and tables: `claims`, every claim with its verdict, `false_positives` and `metric_audit`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from segcompass.claims.evidence import LedgerRecord
from segcompass.claims.ledger import NOT_TESTED, Entry, FamilyRate, false_positives, judged
from segcompass.reporting.ends import ends, share
from segcompass.reporting.metric_audit import audit_caption, audit_table
from segcompass.reporting.table import UNKNOWN, write_table
from segcompass.stats.families import Result
from segcompass.study.claims import BatteryEstimand, ClaimSettings, ClaimsSettings, GapEstimand

OUTCOMES = ("supported", "refuted", "undecided", "invalid", NOT_TESTED)
NUMBERS = ("estimate", "low", "high", "p", "p_holm", "seeds", "images", "samples")


def write_ledger(claims: ClaimsSettings, record: LedgerRecord, folder: Path) -> None:
    """Fills `claims`, `false_positives` and `metric_audit`, each `.csv`, `.md`, `.tex` and `.html`."""
    entries, rates = judged(claims, record), false_positives(claims, record)
    tables = {"claims": claims_table(claims, entries), "false_positives": rates_table(rates)}
    tables["metric_audit"] = audit_table(claims, record.audit)
    captions = {"claims": claims_caption(claims, entries), "false_positives": rates_caption(claims)}
    captions["metric_audit"] = audit_caption(claims, record.audit)
    for name, (tidy, shown) in tables.items():
        write_table(name, captions[name], tidy, shown, folder)


def claims_table(claims: ClaimsSettings, entries: Sequence[Entry]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy rows, and what is shown."""
    tidy, shown = [], []
    for entry in entries:
        stated = claims.stated.get(entry.claim)
        said = stated or claims.untested[entry.claim]
        row: dict[str, Any] = {"claim": entry.claim, "verdict": entry.outcome, "reason": entry.reason}
        row |= {"sentence": said.sentence, "source": said.source, "family": stated.rule.family if stated else ""}
        row |= {"expects": stated.rule.expects if stated else "", "smallest": stated.rule.smallest if stated else math.nan}
        row |= {"measured": measured(stated) if stated else ""}
        row |= {key: getattr(entry.effect, key) if entry.effect else math.nan for key in NUMBERS}
        row |= {f"twin_{key}": getattr(entry.twin, key) if entry.twin else math.nan for key in NUMBERS[:5]}
        tidy.append(row)
        shown.append(
            {
                "claim": f"{said.sentence} (`{entry.claim}`)",
                "verdict": entry.outcome,
                "effect": interval(entry.effect),
                "p after Holm": p_value(entry.effect),
                "asked": asked(stated) if stated else UNKNOWN,
                "null twin": interval(entry.twin),
                "measured": measured(stated) if stated else UNKNOWN,
                "in the paper": said.source,
                "why": entry.reason,
            }
        )
    counts = {f"{key}": "Int64" for key in ("seeds", "images", "samples")}
    return pd.DataFrame(tidy).astype(counts), pd.DataFrame(shown)


def rates_table(rates: Sequence[FamilyRate]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row a family."""
    tidy = pd.DataFrame([vars(rate) for rate in rates], columns=["family", "claims", "permutations", "rate", "starred"])
    shown = tidy.assign(rate=tidy["rate"].map(share), starred=tidy["starred"].map(share)).astype(str)
    return tidy, shown.rename(columns={"permutations": "permuted twins", "rate": "false verdicts", "starred": "any star"})


def claims_caption(claims: ClaimsSettings, entries: Sequence[Entry]) -> str:
    """How many claims have which verdict, and how they were decided."""
    counts = {outcome: sum(entry.outcome == outcome for entry in entries) for outcome in OUTCOMES}
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    return (
        f"{len(entries)} claims: {said}. A claim of an effect is supported if the effect has a star after Holm's correction within its"
        f" family (p at most {claims.alpha:g}), its {100 * (1 - claims.alpha):g} % interval over seeds and images lies above 0 and its"
        " estimate reaches the smallest effect of interest, and refuted if the whole interval lies below that; one of absence is supported"
        " if the whole interval lies within it on either side. Invalid: the null twin shows an effect, controls are out of balance, or the"
        " rule is younger than the result. Rules stand in the study file, and their digests in every artefact."
    )


def rates_caption(claims: ClaimsSettings) -> str:
    """What was permuted."""
    return (
        "The ledger's own false positives: the share of permuted twins, labels exchanged at random in the analysis, in which any claim of a"
        f" family would be decided in favour of an effect, and in which any of its tests has a star (nominally {100 * claims.alpha:g} % at"
        " most). A dash: no claim of the family has labels to exchange."
    )


def measured(claim: ClaimSettings) -> str:
    """The estimand in words."""
    estimand = claim.estimand
    match estimand:
        case BatteryEstimand():
            control = f" - {estimand.control}" if estimand.control else ""
            over = f" on {estimand.over}" if estimand.over else ""
            at = f" at {estimand.at}" if estimand.at is not None else ""
            return f"{estimand.of}: {estimand.intervention}, {estimand.figure} of {estimand.measure}{over}, {estimand.arm}{control}{at}"
        case GapEstimand():
            return f"{estimand.of}: share of the gold-thought gap"
    rest = estimand.model_dump(exclude={"kind", "of"})
    return f"{estimand.of}: {', '.join(str(value) for value in rest.values())}"


def asked(claim: ClaimSettings) -> str:
    """What the rule asks of the effect."""
    return f"{'≥' if claim.rule.expects == 'effect' else 'within ±'} {claim.rule.smallest:g}".replace("± ", "±")


def interval(result: Result | None) -> str:
    """Estimate and interval, starred where it is told from 0; a dash where it is unknown."""
    return UNKNOWN if result is None else ends(result.estimate, result.low, result.high)


def p_value(result: Result | None) -> str:
    """Corrected."""
    if result is None or math.isnan(result.p_holm):
        return UNKNOWN
    return f"{result.p_holm:.3f}" if result.p_holm >= 0.001 else "< 0.001"
