"""Path shares: how much of the mask flows through codes of the picture, the instruction and the thought, and how much around them."""

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from segcompass.reporting.palette import colours

LABELS = {"visual": "codes of the picture", "instruction": "codes of the instruction", "thought": "codes of the thought"}
LABELS |= {"reference": "reference state"}


def paths_figure(shares: pd.DataFrame) -> Figure:
    """One panel a path, one row a variant, with intervals over seeds and images; from `segcompass.reporting.paths.path_shares`."""
    variants = list(dict.fromkeys(shares["variant"]))
    shade = colours(variants)
    figure, axes = pyplot.subplots(1, len(LABELS), figsize=(9.5, 0.9 + 0.3 * len(variants)), sharey=True, sharex=True, squeeze=False)
    for axis, (path, label) in zip(axes[0], LABELS.items(), strict=True):
        here = shares[shares["path"] == path].set_index("variant").loc[variants]
        axis.axvline(0, color="black", linewidth=0.6)
        for place, (variant, row) in enumerate(here.iterrows()):
            axis.barh(place, row["share"], color=shade[str(variant)], height=0.62)
            axis.plot([row["low"], row["high"]], [place, place], color="#555555", linewidth=1.2)
        axis.set_title(label, loc="left")
        axis.set_yticks(range(len(variants)), variants)
        axis.set_ylim(len(variants) - 0.5, -0.5)
        axis.set_xlabel("share of the mask")
    return figure
