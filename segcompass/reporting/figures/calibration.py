"""Calibration of read-outs: what contributions predict of edits against what is observed, in bins."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

READS = {"concepts": "concepts", "words": "words of the thought", "references": "reference states"}
TITLES = {"heat map": "score of the heat map", "mask": "score of the mask"}
TOLD = {"permuted": ("#9a9a9a", "contributions permuted"), "contributions": ("C0", "contributions")}
MARGIN = 0.08
"""Of a panel's range, on every side."""


def calibration_figure(points: pd.DataFrame, readouts: Sequence[tuple[str, str]], tolerance: float) -> Figure:
    """One column a variant, one row a response.

    Args:
        points: rows of `calibration_points`.
        readouts: variants and what they read, in order; those without points are left out.
        tolerance: that `within` is counted by.
    """
    shown = [(variant, reads) for variant, reads in readouts if variant in set(points["variant"])]
    responses = list(dict.fromkeys(points["response"]))
    size = (0.5 + 2.9 * len(shown), 0.5 + 3.1 * len(responses))
    figure, axes = pyplot.subplots(len(responses), len(shown), figsize=size, squeeze=False)
    for row, response in zip(axes, responses, strict=True):
        for axis, (variant, reads) in zip(row, shown, strict=True):
            part = points[(points["variant"] == variant) & (points["response"] == response)]
            _panel(axis, part)
            lines = said(dict(part[part["told"] == "contributions"].iloc[0]), tolerance)
            axis.set_title("\n".join([f"{variant}: {READS[reads]}", *lines]), loc="left", fontsize=8)
            axis.set_xlabel("predicted fall")
        row[0].set_ylabel(f"observed fall, {TITLES[response]}")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(TOLD))
    return figure


def _panel(axis: Axes, points: pd.DataFrame) -> None:
    """Both axes have one range, that of the points; intervals that leave it are cut."""
    for told, (colour, label) in TOLD.items():
        part = points[points["told"] == told]
        known = part.dropna(subset=["low", "high"])
        axis.vlines(known["predicted"], known["low"], known["high"], color=colour, linewidth=1.0)
        axis.plot(part["predicted"], part["observed"], "o", color=colour, label=label)
    values = points[["predicted", "observed"]].to_numpy(float)
    least, most = float(values.min()), float(values.max())
    margin = MARGIN * (most - least) if most > least else 1.0
    axis.set(xlim=(least - margin, most + margin), ylim=(least - margin, most + margin))
    axis.axline((0.0, 0.0), slope=1.0, color="black", linewidth=0.6)


def said(row: dict[str, Any], tolerance: float) -> list[str]:
    """R2, slope and share within the tolerance, with their intervals."""
    names = {"r2": "R²", "slope": "slope", "within": f"within {100 * tolerance:g} %:"}
    lines = []
    for figure, name in names.items():
        low, high = row[f"{figure}_low"], row[f"{figure}_high"]
        interval = "" if math.isnan(low) or math.isnan(high) else f" [{low:z.2f}, {high:z.2f}]"
        lines.append(f"{name} {row[figure]:z.2f}{interval}")
    return lines
