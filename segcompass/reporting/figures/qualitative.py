"""Samples as they are: image, heat map, mask and thought, of samples that a rule chose (`segcompass.reporting.qualitative`)."""

import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segcompass.reporting.figures.overlays import heat_overlay, outline, outline_legend, outline_target

WIDTH, MOST = 1.9, 1.2
"""Inches of a picture, and its height over its width at most."""
WORDS = 2.3
"""Inches of the words beside the pictures."""
LETTERS = 38
"""Of a line of words."""


@dataclass(frozen=True)
class Example:
    """One row of the figure."""

    label: str
    """What kind of sample it is, and why it stands here."""
    image: np.ndarray
    """uint8 [height, width, 3]."""
    text: str
    answer: str
    truth: np.ndarray
    """bool [height, width]."""
    heat: np.ndarray | None
    """Probabilities [m, m] of SAM's padded square; None where none was kept."""
    predicted: np.ndarray
    """bool [height, width]."""
    iou: float


def qualitative_figure(examples: list[Example]) -> Figure:
    """Columns: words, image with the target, heat map, mask beside the target."""
    shapes = [min(MOST, example.image.shape[0] / example.image.shape[1]) for example in examples]
    size = (WORDS + 3 * (WIDTH + 0.1), 0.5 + sum(0.25 + WIDTH * shape for shape in shapes))
    widths = [WORDS, WIDTH, WIDTH, WIDTH]
    figure, axes = pyplot.subplots(len(examples), 4, figsize=size, squeeze=False, width_ratios=widths, height_ratios=shapes)
    for row, example in zip(axes, examples, strict=True):
        thought = example.answer.partition("</think>")[0].replace("<think>", "").strip() or "(no thought)"
        words = "\n".join(textwrap.fill(line, LETTERS) for line in (f"“{example.text}”", "", f"Thought: {thought}"))
        row[0].set_title(example.label, loc="left", fontsize=8.5, fontweight="bold")
        row[0].text(0, 1, words, va="top", fontsize=8, transform=row[0].transAxes, parse_math=False)  # a `$` is a dollar
        _panel(row[1], example.image, "image and target" if example.truth.any() else "image, no target")
        outline_target(row[1], example.truth)
        if example.heat is None:
            row[2].text(0.5, 0.5, "heat map not kept", ha="center", va="center", fontsize=8, transform=row[2].transAxes)
        else:
            _panel(row[2], heat_overlay(example.image, example.heat), "heat map")
            outline_target(row[2], example.truth)
        _panel(row[3], example.image, f"mask, IoU {example.iou:.2f}" if example.predicted.any() else f"empty mask, IoU {example.iou:.2f}")
        outline_target(row[3], example.truth)
        outline(row[3], example.predicted)
        for axis in row:
            axis.set_axis_off()
            axis.set_anchor("NW")
    outline_legend(figure, "target")
    return figure


def _panel(axis: Axes, picture: np.ndarray, title: str) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_title(title, loc="left", fontsize=8)
