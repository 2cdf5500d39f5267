"""`details.md`, behind the report's front page: what was measured, in sentences that are made from the numbers, and the figures that the
front page leaves out."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from segcompass.reporting.captions.read import caption
from segcompass.reporting.concepts import blind_sentence, purity_sentence
from segcompass.study.experiments import Run

FIGURES = (
    "active_features",
    "coverage",
    "purity",
    "frontier",
    "correlation",
    "calibration",
    "qualitative",
    "interface",
    "training",
    "validation",
)
"""In the page's order; `segcompass.reporting.front_page` shows the others."""
COMPARISONS = ("bounds", "families", "reinforcement", "faithfulness")


def details_page(
    study: str,
    runs: Iterable[Run],
    correlations: pd.DataFrame,
    across: pd.DataFrame,
    curves: pd.DataFrame,
    scores: Mapping[str, pd.DataFrame],
    figures: Path,
) -> str:
    """The page's Markdown.

    Args:
        study: its name.
        runs: every (experiment, variant, seed).
        correlations: correlations.csv.
        across: across.csv; empty where the study names no variants to go across.
        curves: rows of `curve_points`.
        scores: `metrics`, `purity` and `coverage` of every scored dictionary, with its name in column `sae`.
        figures: folder whose figures are shown.
    """
    counts = Counter((experiment, variant) for experiment, variant, _ in runs)
    trained = [
        f"{title}: " + ", ".join(f"`{variant}` ({count})" for (experiment, variant), count in counts.items() if experiment == name) + "."
        for name, title in (("interface", "Interface experiment, policy frozen"), ("signals", "Training-signal experiment"))
    ]
    parts = [
        f"# Study `{study}` in detail",
        "What decides claims stands on the [front page](summary.md); here is what was measured beside it.",
        f"Variants and their number of seeds. {' '.join(trained)} Data: the embedded world; numbers of other papers stand beside ours"
        " marked as another world.",
        "## Does concept quality go with mask accuracy?",
        *[
            correlation_sentence(row)
            for row in _rows(correlations[(correlations["benchmark"] == "all") & (correlations["dictionary"] == "trained")])
        ],
        *[across_sentence(row) for row in _rows(across)],
        "## Do the concepts cause the mask?",
        *curve_sentences(curves),
        "## Is the concept space better than chance?",
        *concept_sentences(scores),
        "## Figures",
        *shown_figures(figures),
    ]
    return "\n\n".join(parts) + "\n"


def shown_figures(folder: Path) -> list[str]:
    """Image, caption and links of every drawn figure of the folder; photographs have no purity, untrained interfaces no curve."""
    return [
        f"![{name}](figures/{name}.png)\n\n{caption('figure', name)} ([PDF](figures/{name}.pdf), [CSV](figures/{name}.csv))"
        for name in FIGURES
        if (folder / f"{name}.pdf").is_file()
    ]


def concept_sentences(scores: Mapping[str, pd.DataFrame]) -> list[str]:
    """Purity and blind metrics of every scored dictionary."""
    found = []
    for sae in dict.fromkeys(scores["metrics"]["sae"]):
        metrics, purity, coverage = (scores[name][scores[name]["sae"] == sae] for name in ("metrics", "purity", "coverage"))
        found += [purity_sentence(str(sae), purity)] if len(purity) else []
        found.append(blind_sentence(str(sae), metrics, coverage))
    return found


def correlation_sentence(row: dict[str, Any]) -> str:
    """One finding, with its null twin and what remains when confounders are held fixed."""
    beyond, kept = row["spearman_starred"], row["partial_starred"]
    runs = f"* `{row['variant']}`, {row['seeds']} {'seed' if row['seeds'] == 1 else 'seeds'}"
    if math.isnan(row["spearman"]):
        return f"{runs}: `{row['quality']}` or `{row['accuracy']}` does not vary, so there is no correlation to report."
    verdict = "shows no reliable relation to"
    if beyond:
        verdict = "goes with" if row["spearman"] > 0 else "goes against"
    rest = "remains" if kept else "does not remain"
    return (
        f"{runs}: `{row['quality']}` {verdict} `{row['accuracy']}`, Spearman"
        f" {_interval(row, 'spearman')} over {row['n']} samples of {row['images']} images; shuffled {_interval(row, 'null', 'null_mean')}."
        f" Given target area, number of targets, expression length and a right thought it {rest}: {_interval(row, 'partial')}."
    )


def across_sentence(row: dict[str, Any]) -> str:
    """What runs' means show, with the range of the null twin, in which the variants' accuracies are exchanged."""
    seeds = f"{row['seeds']} {'seed' if row['seeds'] == 1 else 'seeds'}"
    null = f"{row['spearman_null_low']:z.2f} to {row['spearman_null_high']:z.2f}"
    return (
        f"* Across {row['across']} ({row['variants']} variants, {seeds}), the mean `{row['quality']}` of a run with its mean"
        f" `{row['accuracy']}`: Spearman {row['spearman']:z.2f} (exchanged: {null}; p {row['spearman_p']:.3f}), Pearson"
        f" {row['pearson']:z.2f} (p {row['pearson_p']:.3f}). Uncorrected."
    )


def curve_sentences(curves: pd.DataFrame) -> list[str]:
    """What the greatest fraction of each variant's strongest concepts, removed, leaves of the score, against as much of others."""
    removed = curves[(curves["way"] == "removed") & (curves["ablation"] == "zero")]
    found = []
    for (variant, benchmark), part in removed.groupby(["variant", "benchmark"], sort=False):
        rows = {row["edit"]: row for row in _rows(part[part["fraction"] == part["fraction"].max()])}
        top, matched = (f"{rows[edit]['f']:z.2f} [{rows[edit]['low']:z.2f}, {rows[edit]['high']:z.2f}]" for edit in ("top", "matched"))
        found.append(
            f"* `{variant}`, {benchmark}: without its strongest {100 * rows['top']['fraction']:g} % of active concepts {top} of a slot's"
            f" score is left, without as much of others {matched}; {rows['top']['samples']} samples, {rows['top']['seeds']} seeds."
        )
    return found


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _interval(row: dict[str, Any], name: str, middle: str = "") -> str:
    return f"{row[middle or name]:z.2f} [{row[f'{name}_low']:z.2f}, {row[f'{name}_high']:z.2f}]"
