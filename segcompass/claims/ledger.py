"""The ledger: a verdict on every claim of a study, from its record and the rules as they stand now.

Claims of a family are corrected together (Holm), and so are their null twins. A claim is undecided, whatever its number, where its metric
failed the audit or nothing measured it; it is invalid where its rule is not the one that stood when its results were made. All else is
`segcompass.claims.verdict`.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from segcompass.claims.audit import failure
from segcompass.claims.evidence import UNKNOWN, UNMEASURED, ClaimRecord, LedgerRecord, Permuted
from segcompass.claims.verdict import Rule, Verdict, verdict
from segcompass.stats.crossed import Estimate
from segcompass.stats.families import Family, Result, corrected, holm
from segcompass.study.claims import ClaimSettings, ClaimsSettings, rule_digests

NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Entry:
    """One line of the ledger."""

    claim: str
    outcome: str
    """One of `segcompass.claims.verdict.Outcome`, or `not tested`."""
    reason: str
    effect: Result | None
    twin: Result | None
    """None for a claim that is not tested."""
    late: bool = False
    """Whether its rule came after a result that it decides."""


@dataclass(frozen=True)
class FamilyRate:
    """How often a family finds what is not there, where labels are exchanged at random."""

    family: str
    claims: int
    """Those whose labels can be exchanged."""
    permutations: int
    """0 where none can."""
    rate: float
    """Share of permuted twins in which any of its claims would be decided in favour of an effect; NaN for none."""
    starred: float
    """Share in which any of its tests has a star, too small an effect or of the wrong sign though it be."""


def judged(claims: ClaimsSettings, record: LedgerRecord) -> list[Entry]:
    """Every claim of the section, in its order, those that are not tested last."""
    level, digests = 1 - claims.alpha, rule_digests(claims)
    known = {name: record.claims.get(name, _UNRECORDED) for name in claims.stated}
    effects = _corrected(claims, {name: own.effect.estimate(level) for name, own in known.items()})
    twins = _corrected(claims, {name: _twin(name, own, claims) for name, own in known.items()})
    audit = {row["metric"]: row for row in record.audit}
    entries = []
    for name, claim in claims.stated.items():
        own = known[name]
        late = [artefact for artefact, digest in own.rules.items() if digest != digests[name]]
        if late:
            others = f" and {len(late) - 1} more" if len(late) > 1 else ""
            found = Verdict("invalid", f"the rule was written or changed after the result that it decides ({late[0]}{others})")
        elif own.missing:
            found = Verdict("undecided", own.missing)
        elif own.metric in audit and (why := failure(audit[own.metric], claims.variation, name in claims.about_use)):
            found = Verdict("undecided", f"the metric failed the audit: {own.metric} {why}")
        else:
            found = verdict(effects[name], _rule(claim, claims), twins[name], own.balance)
        entries.append(Entry(name, found.outcome, found.reason, effects[name], twins[name], bool(late)))
    return entries + [Entry(name, NOT_TESTED, claim.reason, None, None) for name, claim in claims.untested.items()]


def false_positives(claims: ClaimsSettings, record: LedgerRecord) -> list[FamilyRate]:
    """Each family's rate over permuted twins: verdicts on what nothing but chance makes, corrected as the real ones are."""
    rates = []
    for family in _families(claims):
        members = [name for name, claim in claims.stated.items() if claim.rule.family == family]
        twins = {name: _permuted(name, record.claims[name], claims.permutations) for name in members if name in record.claims}
        twins = {name: twin for name, twin in twins.items() if len(twin.values)}
        count = min((len(twin.values) for twin in twins.values()), default=0)
        if not count:
            rates.append(FamilyRate(family, 0, 0, math.nan, math.nan))
            continue
        p = np.stack([twin.p[:count] for twin in twins.values()])
        star = np.stack([holm(column) for column in p.T], 1) <= claims.alpha
        values = np.stack([twin.values[:count] for twin in twins.values()])
        absent = np.array([claims.stated[name].rule.expects == "absence" for name in twins])[:, None]
        smallest = np.array([claims.stated[name].rule.smallest for name in twins])[:, None]
        decided = star & (np.where(absent, np.abs(values), values) >= smallest)
        rates.append(FamilyRate(family, len(twins), count, float(decided.any(0).mean()), float(star.any(0).mean())))
    return rates


_UNRECORDED = ClaimRecord(UNMEASURED, None, {}, {"the committed record": None}, "", "")


def _families(claims: ClaimsSettings) -> list[str]:
    return list(dict.fromkeys(claim.rule.family for claim in claims.stated.values()))


def _corrected(claims: ClaimsSettings, estimates: Mapping[str, Estimate]) -> dict[str, Result]:
    found: dict[str, Result] = {}
    for family in _families(claims):
        members = tuple(name for name, claim in claims.stated.items() if claim.rule.family == family)
        found |= {result.test: result for result in corrected(Family(family, members), {name: estimates[name] for name in members})}
    return found


def _rule(claim: ClaimSettings, claims: ClaimsSettings) -> Rule:
    return Rule(claim.rule.expects, claim.rule.smallest, claims.alpha, claims.imbalance)


def _permuted(name: str, record: ClaimRecord, count: int) -> Permuted:
    return record.effect.permuted(count, zlib.crc32(name.encode()))


def _twin(name: str, record: ClaimRecord, claims: ClaimsSettings) -> Estimate:
    """The null twin: measured, or the range of the permuted ones, told from 0 where nearly all lie on one side of it."""
    if record.twin is not None:
        return record.twin.estimate(1 - claims.alpha)
    values = _permuted(name, record, claims.permutations).values
    if not len(values):
        return UNKNOWN
    low, high = np.quantile(values, [claims.alpha / 2, 1 - claims.alpha / 2])
    p = min(1.0, 2 * float(min((values >= 0).mean(), (values <= 0).mean())))
    of = record.effect.estimate(1 - claims.alpha)
    return replace(of, value=float(values.mean()), low=float(low), high=float(high), p=p)
