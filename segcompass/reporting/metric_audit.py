"""The audit of metrics as a table: columns of what a study did not measure on several dictionaries are left out."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from segcompass.claims.audit import COMPARISONS, failure
from segcompass.reporting.ends import DIGITS, ends, share
from segcompass.reporting.table import UNKNOWN
from segcompass.study.claims import ClaimsSettings

HEADINGS = {"untrained": "trained - untrained", "frozen": "trained - frozen decoder", "shuffled": "true - shuffled"}
GROWTH = ("checkpoints", "growth", "growth_low", "growth_high", "order")
"""Columns of what checkpoints of a dictionary say of a metric."""

Rows = Sequence[Mapping[str, Any]]
"""Rows of `segcompass.claims.audit`."""


def audit_table(claims: ClaimsSettings, rows: Rows) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy rows and what is shown: one row a metric; of one that fails also the claims of use that it decides all the same."""
    several, trained = _repeated(rows)
    columns = ["metric", "claims", "variation", *(f"{name}{end}" for name in COMPARISONS for end in ("", "_low", "_high"))]
    columns += [*(["over_dictionaries"] if several else []), *(GROWTH if trained else []), "fails"]
    columns += ["decides"] if claims.about_use else []
    tidy, shown = [], []
    for row in rows:
        of_use = [name for name in row["claims"] if row["fails"] and name in claims.about_use and not failure(row, claims.variation, True)]
        steps = row.get("checkpoints", [])
        tidy.append(
            {
                **row,
                "claims": " ".join(row["claims"]),
                "decides": " ".join(of_use),
                "checkpoints": " ".join(f"{value:.6g}" for value in steps),
            }
        )
        said = {"metric": row["metric"], "variation over seeds": share(row["variation"])}
        said |= {"over dictionaries": share(row.get("over_dictionaries"))} if several else {}
        said |= {heading: ends(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name, heading in HEADINGS.items()}
        if trained:
            said["over training"] = " → ".join(f"{value:z.{DIGITS}f}" for value in steps) or UNKNOWN
            said["growth"] = ends(*(row.get(key) for key in ("growth", "growth_low", "growth_high")))
        fault = f"fails: {row['fails']}" + (f"; decides of use: {', '.join(of_use)}" if of_use else "")
        shown.append(said | {"audit": fault if row["fails"] else "passes"})
    return pd.DataFrame(tidy, columns=columns), pd.DataFrame(shown)


def audit_caption(claims: ClaimsSettings, rows: Rows) -> str:
    """What a metric must do before it may decide."""
    several, trained = _repeated(rows)
    of_use = ", but for claims of what masks rely on, which an untrained dictionary need not differ in" if claims.about_use else ""
    over = ", and so over dictionaries that differ by seed alone" if several else ""
    growth = (
        "Over training: the metric at each checkpoint of the dictionary's training; growth: the last less the first, signed so that more is"
        " better, which must lie above 0."
        if trained
        else "A study keeps one checkpoint of a dictionary, so whether a metric rises with training is not measured."
    )
    return (
        "Metrics that decide claims, audited: sd over runs that differ by seed alone, as a share of the mean, or of the smallest effect of"
        f" interest where that is greater (at most {100 * claims.variation:g} %{over}); the metric less that of an untrained dictionary, of"
        " one with a frozen decoder (shown, no reason to fail), and less its own where the truth is another's. A metric that fails decides"
        f" no claim{of_use}. {growth} A dash: not measured by this study."
    )


def _repeated(rows: Rows) -> tuple[bool, bool]:
    """Whether any metric was measured on dictionaries that differ by seed alone, and on checkpoints of one."""
    return any("over_dictionaries" in row for row in rows), any("checkpoints" in row for row in rows)
