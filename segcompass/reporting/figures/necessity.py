"""Necessity: how masks change when a slot's top concepts are zeroed, against matched random concepts and the sham edit."""

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

EDITS = {"top": "top concepts", "random": "matched random concepts", "identity": "nothing (sham)"}
OUTCOMES = {"target_iou_change": "change of IoU with the truth", "changed_pixels": "share of the mask that changed"}


def necessity_figure(summary: pd.DataFrame) -> Figure:
    """Rows: outcomes; columns: benchmarks; x: m; mean with bootstrap interval.

    Args:
        summary: rows of `intervene`'s summary.csv, of one run.
    """
    places = list(summary[["benchmark", "split"]].drop_duplicates().itertuples(index=False, name=None))
    figure, axes = pyplot.subplots(len(OUTCOMES), len(places), figsize=(3.3 * len(places) + 0.6, 5.2), squeeze=False, sharey="row")
    for row, (outcome, label) in enumerate(OUTCOMES.items()):
        for column, (benchmark, split) in enumerate(places):
            axis = axes[row][column]
            here = summary[(summary["benchmark"] == benchmark) & (summary["split"] == split) & (summary["outcome"] == outcome)]
            steps = sorted(here["m"].unique())
            for shift, (edit, name) in enumerate(EDITS.items()):
                part = here[here["contrast"] == edit].set_index("m").loc[steps]
                at = [index + 0.12 * (shift - 1) for index in range(len(steps))]
                axis.errorbar(at, part["mean"], [part["mean"] - part["low"], part["high"] - part["mean"]], fmt="o-", label=name, capsize=2)
            axis.axhline(0, color="black", linewidth=0.6)
            axis.set_xticks(range(len(steps)), [str(m) for m in steps])
            if row == 0:
                axis.set_title(f"{benchmark} {split}, n = {int(here['n'].max())}", loc="left")
            if row == len(OUTCOMES) - 1:
                axis.set_xlabel("concepts zeroed (m)")
        axes[row][0].set_ylabel(label)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
