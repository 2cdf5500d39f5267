"""Curves of every variant: the interface's training, joint training, and what greedy answers to samples of val were worth meanwhile.

Small multiples: a variant has a panel of its own, the reference's curve in grey behind it, so that no panel holds more than two lines.

The policy loss is not drawn: with one update a batch its value is 0 up to rounding, and its gradient stands in that of `language`.
"""

import math
import textwrap
from collections.abc import Iterator

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from segcompass.reporting.palette import OTHERS, colours

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
DRAWN = {name: PANELS[name] for name in ("reward_mask", "thought_accuracy", "kl_to_reference", "mask_dice")}
"""Of joint training, what is drawn; the CSV holds all of `PANELS`."""
FROM_ZERO = {"reward_mask", "thought_accuracy", "considered", "live_groups", "kl_to_reference", *VALIDATION_PANELS}
"""Quantities that are never negative and may not move at all; their axes begin at 0."""
WINDOW = 20
"""The curves are running means over this share of the steps (one step in WINDOW)."""
ACROSS = 11
"""Variants side by side, at most."""


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


def interface_figure(drawn: pd.DataFrame, reference: str) -> Figure:
    """The heat-map Dice loss of each variant beside the reference's, from `smoothed` curves."""
    return _multiples(drawn, {"heat_dice": INTERFACE_PANELS["heat_dice"]}, reference, "")


def training_figure(drawn: pd.DataFrame, reference: str) -> Figure:
    """The quantities of `DRAWN`, likewise."""
    return _multiples(drawn, DRAWN, reference, "")


def validation_figure(drawn: pd.DataFrame, reference: str) -> Figure:
    """Each measure of `validation_means`, likewise; a dot stands at each validation."""
    return _multiples(drawn, VALIDATION_PANELS, reference, ".")


def _over_seeds(curves: pd.DataFrame, columns: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    for variant, part in curves.groupby("variant", sort=False):
        yield str(variant), part.groupby("step")[columns].mean()


def _multiples(drawn: pd.DataFrame, panels: dict[str, str], reference: str, marker: str) -> Figure:
    """One panel a quantity and variant: its curve over the reference's in grey. Panels of a quantity share their axes."""
    curves = {str(name): part for name, part in drawn.groupby("variant", sort=False)}
    behind = curves.get(reference)
    shown = [name for name in curves if name != reference] or [reference]
    shade = colours(shown)
    across = math.ceil(len(shown) / math.ceil(len(shown) / ACROSS))
    blocks = [shown[start : start + across] for start in range(0, len(shown), across)]
    rows = [(name, block) for name in panels for block in blocks]
    size = (max(3.2, 1.15 * across + 0.5), 1.2 * len(rows) + 0.4)
    figure, axes = pyplot.subplots(len(rows), across, figsize=size, sharex=True, sharey="row", squeeze=False)
    for line, (name, block) in zip(axes, rows, strict=True):
        for axis, variant in zip(line, block, strict=False):
            if behind is not None:
                axis.plot(behind["step"], behind[name], color=OTHERS, marker=marker, linewidth=1.2)
            axis.plot(curves[variant]["step"], curves[variant][name], color=shade[variant], marker=marker, linewidth=1.2)
            axis.set_title(variant, loc="left", fontsize=7.5)
            axis.tick_params(labelsize=6.5)
        for axis in line[len(block) :]:
            axis.set_visible(False)
        line[0].set_ylim(*_limits(drawn[name], name in FROM_ZERO))
        line[0].set_ylabel(textwrap.fill(panels[name], 20), fontsize=7)
    figure.supxlabel(f"step; grey: {reference}", fontsize=8)
    return figure


def _limits(values: pd.Series, from_zero: bool) -> tuple[float, float]:
    """The same for every panel of a quantity, with a margin."""
    low, high = (0.0 if from_zero else float(values.min())), float(values.max())
    high = high if high > low else low + 1.0
    margin = (high - low) / 30
    return low - margin, high + margin
