"""What a claim's number follows from, small enough to be committed: every verdict is recomputed from it, and from nothing else.

Two kinds. `Counted` holds a statistic's influence values [S, I] over seeds and images (`segcompass.stats.crossed`): estimate, interval and
p-value follow, and so does what the statistic is where labels are exchanged. `Stated` holds an estimate whose uncertainty was computed
elsewhere: a correlation by permuting images, a purity by resampling them.

The permuted twin of `Counted` exchanges the labels of what is compared (two variants, an edit and its control) at random for each image
and seed, which turns the sign of what they add to the difference. All seeds' common luck goes with it: how often few seeds mislead is
measured where their variance is known (`segcompass.stats.crossed`).

Shape letters: S seeds, I images, B permutations.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segcompass.errors import InputError
from segcompass.stats.crossed import Crossed, Estimate, decomposed

SEEDS = "seeds"
"""The one set of seeds: whatever is compared is paired seed by seed."""
NUMBERS, ARRAYS = "records.json", "records.npz"
UNKNOWN = Estimate(math.nan, math.nan, math.nan, math.nan, 0, 0, 0)


@dataclass(frozen=True)
class Permuted:
    """A statistic, and its two-sided p-value, where labels are exchanged: [B] each; empty where nothing can be exchanged."""

    values: np.ndarray
    p: np.ndarray


@dataclass(frozen=True)
class Counted:
    """A statistic of seeds and images, or its share of another one."""

    effect: Crossed
    whole: Crossed | None = None

    def estimate(self, level: float) -> Estimate:
        """With its interval: Fieller's for a share."""
        return self.effect.estimate(level) if self.whole is None else self.effect.share(self.whole, level)

    def permuted(self, count: int, seed: int) -> Permuted:
        """The twins that `count` exchanges of labels make."""
        influence = self.effect.influence[SEEDS]
        seeds, images = influence.shape
        if math.isnan(self.effect.value) or seeds < 2 or images < 2:
            return Permuted(np.zeros(0), np.zeros(0))
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], (count, seeds, images))
        turned = signs * (influence + self.effect.value / images)
        values = turned.sum(-1).mean(-1)
        p = decomposed([turned - values[:, None, None] / images]).p(values)
        return Permuted(values if self.whole is None else values / self.whole.value, p)


@dataclass(frozen=True)
class Stated:
    """An estimate at the ledger's level, and its permuted twins where they were made with it."""

    found: Estimate
    twins: Permuted

    def estimate(self, level: float) -> Estimate:
        """As it was stated; the level is that of the rules, which a record is of."""
        del level
        return self.found

    def permuted(self, count: int, seed: int) -> Permuted:
        """As they were made: there are `count` of them, or none."""
        del count, seed
        return self.twins


Evidence = Counted | Stated
UNMEASURED = Stated(UNKNOWN, Permuted(np.zeros(0), np.zeros(0)))


@dataclass(frozen=True)
class ClaimRecord:
    """All that a claim is judged by."""

    effect: Evidence
    twin: Evidence | None
    """None for a permuted twin, which follows from the effect."""
    balance: Mapping[str, float]
    """What is compared -> what the edit touches over what its control touches."""
    rules: Mapping[str, str | None]
    """Artefact -> the digest of this claim's rule that stood when it was made; null where there was none."""
    metric: str
    """The metric that must have passed the audit; empty for one that needs none."""
    missing: str
    """Why there is no number, such as a variant that is not run; empty where there is one."""


@dataclass(frozen=True)
class LedgerRecord:
    """The records of all claims, and of the audit of metrics."""

    claims: Mapping[str, ClaimRecord]
    audit: list[dict[str, Any]]
    """Rows of `segcompass.claims.audit`."""


def write_record(record: LedgerRecord, folder: Path) -> None:
    """Writes `records.json` and `records.npz`; the same record gives the same bytes."""
    arrays: dict[str, np.ndarray] = {}
    claims = {
        name: {"effect": _packed(claim.effect, f"{name}.effect", arrays)}
        | {"twin": None if claim.twin is None else _packed(claim.twin, f"{name}.twin", arrays)}
        | {"balance": {key: _number(value) for key, value in claim.balance.items()}}
        | {"rules": dict(claim.rules), "metric": claim.metric, "missing": claim.missing}
        for name, claim in record.claims.items()
    }
    text = json.dumps({"claims": claims, "audit": record.audit}, indent=1, allow_nan=False) + "\n"
    (folder / NUMBERS).write_text(text, encoding="utf-8")
    np.savez_compressed(folder / ARRAYS, allow_pickle=False, **arrays)


def read_record(folder: Path) -> LedgerRecord:
    """The record in a folder.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        raw = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            claims = {
                name: ClaimRecord(
                    _unpacked(row["effect"], f"{name}.effect", arrays),
                    None if row["twin"] is None else _unpacked(row["twin"], f"{name}.twin", arrays),
                    {key: _float(value) for key, value in row["balance"].items()},
                    row["rules"],
                    row["metric"],
                    row["missing"],
                )
                for name, row in raw["claims"].items()
            }
        return LedgerRecord(claims, raw["audit"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(folder, "", f"holds no whole record of a ledger ({error}); start the pipeline, which makes it") from error


def _packed(evidence: Evidence, name: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if isinstance(evidence, Stated):
        if len(evidence.twins.values):
            arrays[f"{name}.permuted"] = np.stack([evidence.twins.values, evidence.twins.p]).astype(np.float32)
        return {"stated": {key: _number(value) for key, value in asdict(evidence.found).items()}}
    parts = {"effect": evidence.effect, "whole": evidence.whole}
    found = {}
    for key, part in parts.items():
        if part is not None:
            arrays[f"{name}.{key}"] = part.influence[SEEDS].astype(np.float32)
            found[key] = {"value": _number(part.value), "samples": part.samples}
    return found


def _unpacked(row: dict[str, Any], name: str, arrays: Mapping[str, np.ndarray]) -> Evidence:
    if "stated" in row:
        known = arrays[f"{name}.permuted"].astype(float) if f"{name}.permuted" in arrays else np.zeros((2, 0))
        numbers = row["stated"]
        value, low, high, p = (_float(numbers[key]) for key in ("value", "low", "high", "p"))
        seeds, images, samples = (int(numbers[key]) for key in ("seeds", "images", "samples"))
        return Stated(Estimate(value, low, high, p, seeds, images, samples), Permuted(*known))
    made = {
        key: Crossed(_float(row[key]["value"]), {SEEDS: arrays[f"{name}.{key}"].astype(float)}, row[key]["samples"])
        for key in ("effect", "whole")
        if key in row
    }
    return Counted(made["effect"], made.get("whole"))


def _number(value: float) -> float | None:
    """JSON has no numbers that are not finite: what is unknown is null."""
    return value if math.isfinite(value) else None


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)
