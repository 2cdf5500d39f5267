"""Samples as they are: image, truth, heat map, mask and thought, of the first images of a split and not of chosen ones."""

import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segcompass.reporting.figures.overlays import PREDICTED, TRUTH, heat_overlay, overlay


@dataclass(frozen=True)
class Example:
    """One row of the figure."""

    image: np.ndarray
    """uint8 [height, width, 3]."""
    text: str
    answer: str
    truth: np.ndarray
    """bool [height, width]."""
    heat: np.ndarray
    """Probabilities [m, m] of SAM's padded square."""
    predicted: np.ndarray
    """bool [height, width]."""
    iou: float


def qualitative_figure(examples: list[Example]) -> Figure:
    """Columns: image with instruction, truth, heat map, mask, thought."""
    size = (10.5, 2.25 * len(examples))
    figure, axes = pyplot.subplots(len(examples), 5, figsize=size, squeeze=False, width_ratios=[1, 1, 1, 1, 1.5])
    for row, example in zip(axes, examples, strict=True):
        panels = (
            (example.image, textwrap.fill(example.text, 26)),
            (overlay(example.image, example.truth, TRUTH), "truth"),
            (heat_overlay(example.image, example.heat), "heat map"),
            (overlay(example.image, example.predicted, PREDICTED), f"mask, IoU {example.iou:.2f}"),
        )
        for axis, (picture, title) in zip(row[:4], panels, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_title(title, loc="left", fontsize=8, parse_math=False)  # a `$` is a dollar
            _bare(axis)
        thought = example.answer.partition("</think>")[0].replace("<think>", "").strip() or "(no thought)"
        row[4].text(0, 1, textwrap.fill(thought, 34), va="top", fontsize=8, transform=row[4].transAxes, parse_math=False)
        row[4].set_title("thought", loc="left", fontsize=8)
        _bare(row[4])
    return figure


def _bare(axis: Axes) -> None:
    axis.set_axis_off()
    axis.set_anchor("N")
