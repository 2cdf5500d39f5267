"""`summary.md`, the front page of a report: what was asked, the verdict on every claim, the figures that carry them, and where all else is.

Every number on it is one of `numbers.json` or of the ledger, `claims/claims.csv`, which is part of it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from segcompass.claims.ledger import NOT_TESTED
from segcompass.reporting.captions.read import caption, captioned
from segcompass.reporting.ends import ends
from segcompass.reporting.table import UNKNOWN
from segcompass.study.experiments import Run

FIGURES = ("claims", "pairs", "curves", "paths")
"""On the page, in its order."""
ABSENT = {
    "pairs": "No counterfactual pairs are shown. An embedded world has them, where `analysis.exchange` swaps concepts of the reference and"
    " keeps examples; photographs have none."
}
"""What the page says in the place of a figure that was not drawn."""
ORDER = ("supported", "refuted", "undecided", "invalid", NOT_TESTED)
KINDS = {"interface": "interfaces", "signals": "policies"}
ASKED = (
    "Does a sparse, readable interface between a vision-language model's thoughts and a mask really carry the mask? SegCompass (arXiv"
    " 2605.22658) says that it does; here each of its claims has a rule that was written before the run, controls, and a null twin in which"
    " nothing can be found. Data and models are the embedded world's, small enough for two processor cores: what holds here holds in this"
    " world."
)


def front_page(study: str, runs: Sequence[Run], ledger: Mapping[str, pd.DataFrame], figures: Path) -> str:
    """The page's Markdown.

    Args:
        study: its name.
        runs: every (experiment, variant, seed).
        ledger: its tables `claims`, `false_positives` and `metric_audit`.
        figures: folder of the figures.
    """
    claims = ledger["claims"]
    counts = claims["verdict"].value_counts()
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ORDER if verdict in counts)
    parts = [
        f"# Study `{study}`",
        ASKED,
        "## Which claims hold?",
        f"Of {len(claims)} claims: {said}. Effects are in the unit of their measure, with 95 % intervals over seeds and images; stars and"
        " verdicts come after correction within families. [Rules, reasons and numbers](claims/claims.md).",
        verdict_table(claims),
        trust_sentence(ledger["false_positives"], ledger["metric_audit"]),
        *[shown(name) if (figures / f"{name}.pdf").is_file() else ABSENT.get(name, "") for name in FIGURES],
        "## How it was made",
        made_sentence(runs),
        "## Where everything is",
        *[f"{title}: {', '.join(links)}." for title, links in places(figures).items() if links],
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdict_table(claims: pd.DataFrame) -> str:
    """One line a claim, verdict by verdict."""
    rank = claims["verdict"].map({verdict: place for place, verdict in enumerate(ORDER)})
    rows = [
        {
            "claim": row["sentence"].rstrip("."),
            "verdict": f"**{row['verdict']}**",
            "effect": _of(row, ""),
            "null twin": _of(row, "twin_"),
            "where": row["source"],
        }
        for row in claims.assign(rank=rank).sort_values("rank", kind="stable").to_dict("records")
    ]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def claim_line(row: Mapping[Any, Any]) -> str:
    """One item of a list: sentence, verdict, effect, and the twin's where it has one."""
    effect, twin = _of(row, ""), _of(row, "twin_")
    known = [text for text in (effect, f"null twin {twin}" if twin != UNKNOWN else "") if text not in ("", UNKNOWN)]
    return f"* {row['sentence']} **{row['verdict'].capitalize()}**" + (f": {'; '.join(known)}." if known else ".")


def _of(row: Mapping[Any, Any], of: str) -> str:
    """Estimate and interval of an effect or its twin."""
    return ends(*(row[f"{of}{name}"] for name in ("estimate", "low", "high")))


def trust_sentence(rates: pd.DataFrame, audit: pd.DataFrame) -> str:
    """How often the ledger errs, and which metrics failed."""
    known = rates[rates["permutations"] > 0]
    parts = []
    if len(known):
        parts.append(
            f"Where labels are exchanged at random, the ledger finds an effect in {100 * known['rate'].max():.1f} % of"
            f" {int(known['permutations'].max())} twins at most in any family ([each](claims/false_positives.md))."
        )
    failed = audit[audit["fails"].fillna("") != ""]
    if len(audit):
        of_use = failed["decides"].fillna("") != "" if "decides" in failed else pd.Series(False, failed.index)
        said = []
        if of_use.any():
            said.append(f"decide what masks rely on alone, not what a dictionary learnt ({'; '.join(failed.loc[of_use, 'metric'])})")
        if not of_use.all() or not len(failed):
            said.append("decide none" + (f" ({'; '.join(failed.loc[~of_use, 'metric'])})" if len(failed) else ""))
        parts.append(
            f"Of {len(audit)} metrics that decide claims {len(failed)} failed the [audit](claims/metric_audit.md) and {' or '.join(said)}."
        )
    return " ".join(parts)


def shown(name: str) -> str:
    """Image, caption and links."""
    return f"![{name}](figures/{name}.png)\n\n{caption('figure', name)} ([PDF](figures/{name}.pdf), [CSV](figures/{name}.csv))"


def counted(runs: Sequence[Run]) -> dict[str, dict[str, int]]:
    """Of each experiment, how many runs and variants."""
    own = {name: [variant for experiment, variant, _ in runs if experiment == name] for name in KINDS}
    return {name: {"runs": len(variants), "variants": len(set(variants))} for name, variants in own.items()}


def made_sentence(runs: Sequence[Run]) -> str:
    """Experiments, variants and seeds."""
    counts = counted(runs)
    interfaces, policies = (f"{counts[name]['runs']} {what} ({counts[name]['variants']} variants)" for name, what in KINDS.items())
    return (
        f"{interfaces} were trained on the same answers of a frozen policy, and {policies} by reward and by masks; each variant differs"
        " from its reference in declared keys alone. Everything is evaluated by the benchmarks' own protocols; edits of codes are chosen on"
        " val and tested on test. One command makes this page from the study file, and refuses artefacts that disagree with it."
    )


def places(figures: Path) -> dict[str, list[str]]:
    """Links to every table and to what the page leaves out."""
    drawn = [name for name in captioned("figure") if name not in FIGURES and (figures / f"{name}.pdf").is_file()]
    return {
        "Claims": [f"[{name.replace('_', ' ')}](claims/{name}.md)" for name in captioned("ledger")],
        "Tables": [f"[{name.replace('_', ' ')}](tables/{name}.md)" for name in captioned("table")],
        "Figures": [f"[{name.replace('_', ' ')}](figures/{name}.png)" for name in drawn],
        "Text": [
            "[what was measured beside the claims, with captions](details.md)",
            "[every number](numbers.json)",
            "[every concept](atlas/atlas.html), an offline page that the same command makes and git does not keep",
        ],
    }
