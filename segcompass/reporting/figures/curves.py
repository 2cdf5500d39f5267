"""Necessity and sufficiency: a slot's strongest concepts kept alone or removed, against matched concepts and random directions."""

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

EDITS = {"top": "strongest concepts", "matched": "matched concepts", "direction": "random directions"}
WAYS = {"kept": "-", "removed": "--"}


def curves_figure(points: pd.DataFrame) -> Figure:
    """One panel a benchmark; x: fraction of the active concepts; f with its interval as a band.

    Args:
        points: rows of `curve_points`, of one variant and one ablation.
    """
    benchmarks = list(dict.fromkeys(points["benchmark"]))
    figure, axes = pyplot.subplots(1, len(benchmarks), figsize=(3.3 * len(benchmarks) + 0.6, 3.4), squeeze=False, sharey=True)
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        here = points[points["benchmark"] == benchmark]
        _panel(axis, here)
        seeds, samples, images = (int(here[name].max()) for name in ("seeds", "samples", "images"))
        axis.set_title(f"{benchmark}: {seeds} seeds, {samples} samples, {images} images", loc="left", fontsize=8)
    axes[0][0].set_ylabel(f"f: share of the score that is left\n({points['ablation'].iloc[0]} ablation)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _panel(axis: Axes, points: pd.DataFrame) -> None:
    for number, (edit, name) in enumerate(EDITS.items()):
        for way, line in WAYS.items():
            part = points[(points["edit"] == edit) & (points["way"] == way)].dropna(subset=["f"]).sort_values("fraction")
            if len(part):
                axis.plot(part["fraction"], part["f"], line, color=f"C{number}", marker="o", label=f"{name}, {way}")
                known = part.dropna(subset=["low", "high"])  # a single seed has no interval
                axis.fill_between(known["fraction"], known["low"], known["high"], color=f"C{number}", alpha=0.15, linewidth=0)
    for level in (0.0, 1.0):
        axis.axhline(level, color="black", linewidth=0.6)
    if points["f"].notna().any():
        axis.set_xscale("log")
    axis.set_xlabel("fraction of the active concepts")
