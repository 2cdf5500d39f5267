"""The scores of every dictionary, read once for tables, figures, numbers and sentences."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

ACTIVE = {"instance": "instance", "background": "background", "instruction": "question", "thought": "thought"}
"""Token types of Figure 4 and their names in the paper."""
MORE_IS_BETTER = ("explained_variance", "monosemanticity")
"""Metrics with a good end; L0, dead concepts and coherence describe."""
GOOD = 0.95
"""AUROC from which a concept counts as one that tells an attribute value."""


def read_scores(folders: Iterable[Path], name: str) -> pd.DataFrame:
    """One CSV of every artefact of `score_concepts`, with the dictionary's name in column `sae`."""
    return pd.concat([pd.read_csv(folder / f"{name}.csv").assign(sae=folder.name) for folder in folders], ignore_index=True)


DENSE = ("dense", "pca")
"""Architectures whose every feature is active on every token."""


def sparse_only(frame: pd.DataFrame, saes: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of sparse dictionaries: on a dense map every feature is active, which says nothing."""
    return frame[[saes[name]["architecture"] not in DENSE for name in frame["sae"]]]


def purity_sentence(sae: str, purity: pd.DataFrame) -> str:
    """How many values of each attribute some concept tells, beside its controls.

    Args:
        sae: the dictionary's name.
        purity: its rows of purity.csv.
    """
    auroc = purity[purity["metric"] == "auroc"]
    parts = []
    for attribute, rows in auroc[auroc["value"] != "(mean)"].groupby("attribute", sort=False):
        good = {name: int((rows[name] >= GOOD).sum()) for name in ("trained", "random", "shuffled", "linear_probe")}
        mean = auroc[(auroc["attribute"] == attribute) & (auroc["value"] == "(mean)")].iloc[0]
        verdict = "tells" if mean["tells_trained_from_random"] else "does not tell"
        parts.append(
            f"{attribute} {good['trained']} of {len(rows)} (untrained {good['random']}, shuffled {good['shuffled']}, linear read-out of the"
            f" layer {good['linear_probe']}; the mean AUROC {verdict} trained from untrained)"
        )
    return f"* `{sae}`: values that one concept tells with AUROC of at least {GOOD} on held-out scenes: {'; '.join(parts)}."


def blind_sentence(sae: str, metrics: pd.DataFrame, coverage: pd.DataFrame) -> str:
    """Which metrics do not tell the trained dictionary from its untrained twin, and by which the twin is the better one.

    Args:
        sae: the dictionary's name.
        metrics: its rows of metrics.csv.
        coverage: its rows of coverage.csv.
    """
    blind = _named(metrics[~metrics["tells_trained_from_random"].astype(bool)])
    worse = _named(metrics[metrics["metric"].isin(MORE_IS_BETTER) & (metrics["difference_high"] < 0)])
    for ranking, rows in coverage[coverage["fraction"] < 1].groupby("ranking", sort=False):
        blind += _shares(str(ranking), rows[~rows["tells_trained_from_random"].astype(bool)])
        worse += _shares(str(ranking), rows[rows["difference_high"] < 0])
    parts = [f"these metrics do not tell it from its untrained twin: {'; '.join(blind)}"] if blind else []
    parts += [f"by these the untrained twin is better: {'; '.join(worse)}"] if worse else []
    return f"* `{sae}`: {'. Moreover, '.join(parts) or 'every metric tells it from its untrained twin, and none favours the twin'}."


def _named(rows: pd.DataFrame) -> list[str]:
    return [f"{metric} ({kind})" for metric, kind in zip(rows["metric"], rows["token_type"], strict=True)]


def _shares(ranking: str, rows: pd.DataFrame) -> list[str]:
    shares = ", ".join(f"{100 * fraction:g} %" for fraction in rows["fraction"])
    return [f"coverage by {ranking} at {shares}"] if shares else []
