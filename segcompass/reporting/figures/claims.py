"""Every claim at a glance: its effect in units of the smallest effect of interest, coloured by verdict, its null twin below."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from segcompass.reporting.palette import OUTCOMES

REACH = 6.0
"""Effects beyond so many smallest ones are drawn at the edge, as arrows."""
DRAWN = ("estimate", "low", "high", "twin_estimate", "twin_low", "twin_high")
ROW = 0.27
"""Inches a claim."""


def in_units(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of claims.csv that have an effect, their numbers divided by the smallest effect of interest."""
    known = table[table["estimate"].notna()]
    scaled = known[["claim", "family", "verdict", "expects", "smallest"]].copy()
    return scaled.assign(**{name: known[name] / known["smallest"] for name in DRAWN})


def claims_figure(drawn: pd.DataFrame) -> Figure:
    """One row a claim, from `in_units`; families follow each other.

    The band around 0 holds what is too small to matter: a claim of an effect must lie right of it, one of absence within it.
    """
    figure, axis = pyplot.subplots(figsize=(7.2, 1.1 + ROW * len(drawn)))
    axis.axvspan(-1, 1, color="#eeeeee", linewidth=0)
    axis.axvline(0, color="black", linewidth=0.6)
    for place, row in enumerate(drawn.to_dict("records")):
        _bar(axis, place - 0.12, row, "", OUTCOMES[row["verdict"]], "s" if row["expects"] == "absence" else "o", 1.6)
        if not math.isnan(row["twin_estimate"]):
            _bar(axis, place + 0.2, row, "twin_", "#9a9a9a", "|", 0.8)
    families = drawn["family"].to_numpy()
    for edge in np.flatnonzero(families[1:] != families[:-1]):
        axis.axhline(edge + 0.5, color="#cccccc", linewidth=0.5)
    axis.set_yticks(range(len(drawn)), [name.replace("_", " ") for name in drawn["claim"]])
    axis.set_ylim(len(drawn) - 0.5, -0.5)
    axis.set_xlim(-REACH, REACH)
    axis.set_xlabel("effect / smallest effect of interest")
    marks = [Line2D([], [], color=colour, marker="o", label=verdict) for verdict, colour in OUTCOMES.items()]
    marks += [Line2D([], [], color="black", marker="s", linestyle="", label="expects absence")]
    marks += [Line2D([], [], color="#9a9a9a", marker="|", label="null twin")]
    figure.legend(handles=marks, loc="outside lower center", ncols=6)
    return figure


def _bar(axis: pyplot.Axes, height: float, row: dict[Any, Any], of: str, colour: str, marker: str, width: float) -> None:
    value, low, high = (float(row[f"{of}{name}"]) for name in ("estimate", "low", "high"))
    if not (math.isnan(low) or math.isnan(high)):
        axis.plot(np.clip([low, high], -REACH, REACH), [height, height], color=colour, linewidth=width, solid_capstyle="butt")
    outside = abs(value) > REACH
    shape = (">" if value > 0 else "<") if outside else marker
    axis.plot(np.clip(value, -REACH, REACH), height, marker=shape, color=colour, markersize=4.5, clip_on=False, linestyle="")
