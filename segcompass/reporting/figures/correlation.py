"""Figure 8: concept quality against mask accuracy, a sample a point, with the coefficient, its interval and its null twin."""

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

LABELS = {
    "heat_iou": "heat-map IoU",
    "sae_mse": "reconstruction error (MSE)",
    "coverage": "target covered by the top tokens",
    "iou": "mask IoU",
    "dice_loss": "mask Dice loss",
}


def correlation_figure(points: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """One panel a pair of quality and accuracy: pooled samples of the first run with its least-squares line.

    Args:
        points: rows of `correlate`'s points.csv, of one run.
        correlations: rows of its correlations.csv, of the run's variant over all seeds, pooled over benchmarks.
    """
    pairs = list(correlations.loc[correlations["dictionary"] == "trained", ["quality", "accuracy"]].itertuples(index=False, name=None))
    figure, axes = pyplot.subplots(1, len(pairs), figsize=(3.3 * len(pairs), 3.1), squeeze=False)
    for axis, (quality, accuracy) in zip(axes[0], pairs, strict=True):
        _scatter(axis, points, quality, accuracy)
        rows = correlations[(correlations["accuracy"] == accuracy) & correlations["quality"].isin([quality, f"random_{quality}"])]
        trained = rows[rows["dictionary"] == "trained"].iloc[0]
        lines = [
            f"Spearman {trained['spearman']:z.2f} [{trained['spearman_low']:z.2f}, {trained['spearman_high']:z.2f}]",
            f"partial {trained['partial']:z.2f} [{trained['partial_low']:z.2f}, {trained['partial_high']:z.2f}]",
            f"shuffled {trained['null_mean']:z.2f} [{trained['null_low']:z.2f}, {trained['null_high']:z.2f}]",
        ]
        for control in rows[rows["dictionary"] == "untrained"].itertuples():
            lines.append(f"untrained SAE {control.spearman:z.2f} [{control.spearman_low:z.2f}, {control.spearman_high:z.2f}]")
        axis.set_title("\n".join(lines), loc="left", fontsize=8)
    return figure


def _scatter(axis: Axes, points: pd.DataFrame, quality: str, accuracy: str) -> None:
    x, y = points[quality].to_numpy(float), points[accuracy].to_numpy(float)
    axis.scatter(x, y, s=8, alpha=0.35, linewidths=0)
    if np.ptp(x) > 0:
        slope, intercept = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        axis.plot(ends, slope * ends + intercept, color="C1")
    axis.set_xlabel(LABELS[quality])
    axis.set_ylabel(LABELS[accuracy])
    axis.set_ylim(-0.04, 1.04)
    axis.xaxis.set_major_locator(MaxNLocator(4))
