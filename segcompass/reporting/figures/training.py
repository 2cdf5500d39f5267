"""Curves of every variant: the interface's training, joint training, and what greedy answers to samples of val were worth meanwhile.

The policy loss is not drawn: with one update a batch its value is 0 up to rounding, and its gradient stands in that of `language`.
"""

from collections.abc import Iterator

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

INTERFACE_PANELS = {
    "heat_bce": "heat-map BCE (weighted)",
    "heat_dice": "heat-map Dice (weighted)",
    "confidence": "confidence BCE (weighted)",
}
PANELS = {
    "reward_mask": "mask reward",
    "reward_format": "format reward",
    "live_groups": "prompts whose rewards differ",
    "thought_accuracy": "right thoughts, sampled",
    "considered": "considered thoughts, sampled",
    "kl_to_reference": "KL to the reference (nats a token)",
    "entropy": "entropy of a token (nats)",
    "answer_tokens": "tokens of an answer",
    "heat_bce": "heat-map BCE (weighted)",
    "heat_dice": "heat-map Dice (weighted)",
    "mask_dice": "mask Dice (weighted)",
    "mask_focal": "mask focal (weighted)",
    "confidence": "confidence BCE (weighted)",
    "norm_language": "gradient, language",
    "norm_codebook": "gradient, codebook",
    "norm_mapper": "gradient, mapper",
    "norm_prompt_encoder": "gradient, prompt encoder",
    "norm_mask_decoder": "gradient, mask decoder",
}
VALIDATION_PANELS = {
    "gIoU": "gIoU on samples of val",
    "thought_accuracy": "right thoughts",
    "considered": "considered thoughts",
    "valid_answers": "answers that keep the form",
    "N-acc": "no-target answers that are right (N-acc)",
}
FROM_ZERO = {"reward_mask", "thought_accuracy", "considered", "live_groups", "kl_to_reference", *VALIDATION_PANELS}
"""Quantities that are never negative and may not move at all; their axes begin at 0."""
WINDOW = 20
"""The curves are running means over this share of the steps (one step in WINDOW)."""
LEGEND_COLUMN = 1.35
"""Inches that a column of the legend needs."""
LINES = ("-", "--", ":")
"""Line styles, the next one when the colours are used up."""


def smoothed(curves: pd.DataFrame, panels: dict[str, str]) -> pd.DataFrame:
    """Mean over seeds of each variant's curves, as a running mean over a WINDOW-th of the steps."""
    rows = []
    for variant, mean in _over_seeds(curves, list(panels)):
        running = mean.rolling(max(1, len(mean) // WINDOW), min_periods=1).mean()
        rows.append(running.reset_index().assign(variant=variant))
    return pd.concat(rows, ignore_index=True)[["variant", "step", *panels]]


def validation_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of each variant's validations, as they are."""
    means = [mean.reset_index().assign(variant=variant) for variant, mean in _over_seeds(rows, list(VALIDATION_PANELS))]
    return pd.concat(means, ignore_index=True)[["variant", "step", *VALIDATION_PANELS]]


def interface_figure(drawn: pd.DataFrame) -> Figure:
    """One panel a loss, one line a variant, from `smoothed` curves."""
    return _panels(drawn, INTERFACE_PANELS, 1, 3, (9.5, 2.6), "")


def training_figure(drawn: pd.DataFrame) -> Figure:
    """One panel a quantity, one line a variant, from `smoothed` curves."""
    return _panels(drawn, PANELS, 6, 3, (9.5, 11), "")


def validation_figure(drawn: pd.DataFrame) -> Figure:
    """One panel a measure, one line a variant, from `validation_means`; a dot stands at each validation."""
    return _panels(drawn, VALIDATION_PANELS, 2, 3, (9.5, 5), ".")


def _over_seeds(curves: pd.DataFrame, columns: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    for variant, part in curves.groupby("variant", sort=False):
        yield str(variant), part.groupby("step")[columns].mean()


def _panels(drawn: pd.DataFrame, panels: dict[str, str], rows: int, columns: int, size: tuple[float, float], marker: str) -> Figure:
    figure, axes = pyplot.subplots(rows, columns, figsize=size, sharex=True, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (name, label) in zip(axes.flat, panels.items(), strict=False):
        for index, (variant, part) in enumerate(drawn.groupby("variant", sort=False)):
            style = LINES[index // len(pyplot.rcParams["axes.prop_cycle"]) % len(LINES)]
            axis.plot(part["step"], part[name], linestyle=style, marker=marker, label=variant)
        if name in FROM_ZERO:
            top = axis.get_ylim()[1]
            axis.set_ylim(-top / 30, top * 31 / 30)
        axis.set_title(label, loc="left")
    for axis in axes[-1]:
        axis.set_xlabel("step")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(int(size[0] / LEGEND_COLUMN), len(labels)))
    return figure
