"""Training curves of every variant: rewards, divergence from the reference, losses."""

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

PANELS = {
    "reward_mask": "mask reward",
    "reward_format": "format reward",
    "kl": "KL to the reference (weighted)",
    "entropy": "entropy of a token (nats)",
    "mask_dice": "mask Dice loss",
    "confidence": "confidence loss (weighted)",
}
WINDOW = 20
"""The curves are running means over this share of the steps (one step in WINDOW)."""


def smoothed(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of each variant's curves, as a running mean over a WINDOW-th of the steps."""
    columns = list(PANELS)
    rows = []
    for variant, part in curves.groupby("variant", sort=False):
        mean = part.groupby("step")[columns].mean()
        running = mean.rolling(max(1, len(mean) // WINDOW), min_periods=1).mean()
        rows.append(running.reset_index().assign(variant=variant))
    return pd.concat(rows, ignore_index=True)[["variant", "step", *columns]]


def training_figure(drawn: pd.DataFrame) -> Figure:
    """One panel a quantity, one line a variant, from `smoothed` curves."""
    figure, axes = pyplot.subplots(2, 3, figsize=(9.5, 5), sharex=True)
    for axis, (name, label) in zip(axes.flat, PANELS.items(), strict=True):
        for variant, part in drawn.groupby("variant", sort=False):
            axis.plot(part["step"], part[name], label=variant)
        axis.set_title(label, loc="left")
    for axis in axes[1]:
        axis.set_xlabel("step")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(7, len(labels)))
    return figure
