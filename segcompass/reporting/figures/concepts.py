"""Figures of the concept space: active features per token type (Figure 4), coverage of the target (Figure 5), purity, and the frontier."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from segcompass.reporting.concepts import ACTIVE, DENSE, GOOD

TRAINED, RANDOM, SHUFFLED = "C0", "C1", "C2"
CONTROLS = {"trained": (TRAINED, "trained"), "random": (RANDOM, "untrained twin"), "shuffled": (SHUFFLED, "shuffled labels")}
RANKINGS = {"thought": "by the thought's concepts", "activation": "by total activation"}
MARKERS = "osD^vP*X"


def active_features_figure(drawn: pd.DataFrame) -> Figure:
    """Figure 4: mean number of active concepts a token, a panel a dictionary, from the L0 rows of metrics.csv with column `sae`."""
    saes = list(dict.fromkeys(drawn["sae"]))
    figure, axes = pyplot.subplots(1, len(saes), figsize=(3.4 * len(saes), 2.9), squeeze=False)
    for axis, sae in zip(axes[0], saes, strict=True):
        rows = drawn[drawn["sae"] == sae].set_index("token_type").reindex([kind for kind in ACTIVE if kind in set(drawn["token_type"])])
        for shift, name in enumerate(("trained", "random")):
            colour, label = CONTROLS[name]
            at = np.arange(len(rows)) + 0.38 * (shift - 0.5)
            axis.bar(at, rows[name], 0.36, color=colour, label=label, yerr=_spread(rows, name), error_kw={"elinewidth": 0.8, "capsize": 2})
        axis.set_xticks(range(len(rows)), [ACTIVE[str(kind)] for kind in rows.index])
        axis.set_title(sae, loc="left")
        axis.grid(axis="x", visible=False)
    axes[0][0].set_ylabel("active concepts a token")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def coverage_figure(drawn: pd.DataFrame) -> Figure:
    """Figure 5: coverage over the share of tokens; rows: dictionaries, columns: rankings; from coverage.csv with column `sae`."""
    saes, rankings = list(dict.fromkeys(drawn["sae"])), list(dict.fromkeys(drawn["ranking"]))
    size = (3.5 * len(rankings), 2.6 * len(saes) + 0.4)
    figure, axes = pyplot.subplots(len(saes), len(rankings), figsize=size, squeeze=False, sharex=True, sharey=True)
    for line, sae in zip(axes, saes, strict=True):
        for axis, ranking in zip(line, rankings, strict=True):
            rows = drawn[(drawn["sae"] == sae) & (drawn["ranking"] == ranking)]
            for name, (colour, label) in CONTROLS.items():
                axis.plot(rows["fraction"], rows[name], "o-", markersize=3, color=colour, label=label)
                axis.fill_between(rows["fraction"], rows[f"{name}_low"], rows[f"{name}_high"], color=colour, alpha=0.15, linewidth=0)
            axis.plot(rows["fraction"], rows["random_tokens"], "--", color="black", linewidth=1, label="random tokens")
            axis.set_title(f"{sae}, ranked {RANKINGS[ranking]}", loc="left")
            axis.xaxis.set_major_formatter(PercentFormatter(1.0))
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        line[0].set_ylabel("target covered")
    for axis in axes[-1]:
        axis.set_xlabel("visual tokens kept (top K %)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def purity_figure(drawn: pd.DataFrame) -> Figure:
    """Held-out AUROC of the best concept of each value, a row a dictionary, from AUROC rows of purity.csv with column `sae`."""
    saes = list(dict.fromkeys(drawn["sae"]))
    places = list(drawn[["attribute", "value"]].drop_duplicates().itertuples(index=False, name=None))
    figure, axes = pyplot.subplots(len(saes), 1, figsize=(0.42 * len(places) + 1.4, 2.3 * len(saes) + 0.7), squeeze=False, sharex=True)
    for axis, sae in zip(axes[:, 0], saes, strict=True):
        rows = drawn[drawn["sae"] == sae].set_index(["attribute", "value"]).loc[places]
        for shift, (name, (colour, label)) in enumerate(CONTROLS.items()):
            at = np.arange(len(places)) + 0.22 * (shift - 1)
            axis.errorbar(at, rows[name], _spread(rows, name), fmt="o", color=colour, label=label, elinewidth=0.9)
        axis.scatter(range(len(places)), rows["linear_probe"], marker="_", s=130, color="black", linewidths=1, label="linear read-out")
        axis.axhline(GOOD, color="black", linewidth=0.6, linestyle=":")
        for index in range(1, len(places)):
            if places[index][0] != places[index - 1][0]:
                axis.axvline(index - 0.5, color="black", linewidth=0.6)
        axis.set_title(sae, loc="left")
        axis.set_ylabel("AUROC, held out")
        axis.set_ylim(0.35, 1.03)
        axis.grid(axis="x", visible=False)
    axes[-1][0].set_xticks(range(len(places)), [value for _, value in places], rotation=45, ha="right")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def frontier_points(metrics: Mapping[str, Mapping[str, Any]], saes: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row a sparse dictionary: its line of the frontier, L0 and explained variance on held-out images.

    Args:
        metrics: name -> metrics.json of `train_sae`.
        saes: name -> `architecture`, `hook_layer`, `width`, `line` (null for the study's own dictionaries).
    """
    rows = []
    for name, about in saes.items():
        whole = metrics[name]["all"]
        measured = {"l0": whole["l0"], "explained_variance": whole["explained_variance"], "dead_fraction": whole["dead_fraction"]}
        if about["architecture"] not in DENSE:
            rows.append({"sae": name} | dict(about) | measured)
    return pd.DataFrame(rows)


def frontier_figure(drawn: pd.DataFrame) -> Figure:
    """Explained variance against L0, one line an architecture, layer and width; stars: the study's own dictionaries."""
    figure, axis = pyplot.subplots(figsize=(6.6, 3.6))
    swept = drawn[drawn["line"].notna()]
    for index, (line, rows) in enumerate(swept.groupby("line", sort=False)):
        ordered = rows.sort_values("l0")
        axis.plot(ordered["l0"], 1 - ordered["explained_variance"], f"{MARKERS[index % len(MARKERS)]}-", label=str(line))
    own = drawn[drawn["line"].isna()]
    axis.scatter(own["l0"], 1 - own["explained_variance"], marker="*", s=90, color="black", zorder=3, label="the study's own")
    for name, l0, explained in zip(own["sae"], own["l0"], own["explained_variance"], strict=True):
        beside = {"xytext": (-8, 0), "ha": "right"} if l0 < own["l0"].median() else {"xytext": (8, 0), "ha": "left"}  # away from each other
        axis.annotate(name, (l0, 1 - explained), textcoords="offset points", va="center", fontsize=8, **beside)
    _fidelity_axis(axis)
    axis.set_xlabel("L0, active concepts a token")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper")
    return figure


def _fidelity_axis(axis: Axes) -> None:
    """Explained variance on a logarithmic scale of what is left unexplained."""
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.margins(0.12)
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1 - value:.4g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_ylabel("explained variance, held out")


def _spread(rows: pd.DataFrame, name: str) -> np.ndarray:
    """Distances [2, n] from each value to the ends of its interval."""
    value = rows[name].to_numpy(float)
    return np.nan_to_num(np.stack([value - rows[f"{name}_low"], rows[f"{name}_high"] - value]).clip(min=0))
