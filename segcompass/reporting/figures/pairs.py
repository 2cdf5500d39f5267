"""Counterfactual pairs as they are: a picture and its mask, another picture that gives concepts, and the mask once they are exchanged."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segcompass.reporting.figures.overlays import outline, outline_legend, outline_target

NAMED = 4
"""Concepts that are named of an exchange; the others are counted."""
LETTERS = 26
"""Of a line below a picture."""
WIDTH, MOST, BELOW = 1.55, 1.2, 0.78
"""Inches of a picture, its height over its width at most, and inches of the text below it."""
HEADS = (
    "A",
    "mask of A, before",
    "B, which gives concepts",
    "mask of A, concepts of\nthe attribute from B",
    "mask of A, matched\nconcepts from B (control)",
)


@dataclass(frozen=True)
class Side:
    """One picture with what is asked about it, and what the thought says."""

    image: np.ndarray
    """uint8 [height, width, 3]."""
    text: str
    thought: str


@dataclass(frozen=True)
class Outcome:
    """A mask on the edited side's picture."""

    mask: np.ndarray
    """bool [height, width]."""
    iou_own: float
    """With the target of the edited side."""
    iou_expected: float
    """With that of what the giving side names."""
    concepts: list[str]
    """Those that were exchanged, the weightiest first."""


@dataclass(frozen=True)
class Pair:
    """One row of the figure."""

    attribute: str
    values: tuple[str, str]
    """That the edited side names, and that the giving one names."""
    edited: Side
    giving: Side
    expected: np.ndarray
    """bool [height, width]: where the mask should be after the exchange."""
    before: Outcome
    exchanged: Outcome
    control: Outcome


def pairs_figure(pairs: Sequence[Pair]) -> Figure:
    """Columns: edited picture with instruction and thought, its mask, giving picture, masks after both exchanges."""
    shapes = [min(MOST, pair.edited.image.shape[0] / pair.edited.image.shape[1]) for pair in pairs]
    size = (0.4 + (WIDTH + 0.05) * len(HEADS), 0.7 + WIDTH * sum(shapes) + BELOW * len(pairs))
    figure, axes = pyplot.subplots(len(pairs), len(HEADS), figsize=size, squeeze=False, height_ratios=shapes)
    for axis, head in zip(axes[0], HEADS, strict=True):
        axis.set_title(head, loc="left", fontsize=8)
    for row, pair in zip(axes, pairs, strict=True):
        for axis, side in zip(row[::2], (pair.edited, pair.giving), strict=False):
            _panel(axis, side.image, [f"“{side.text}”", f"Thought: {side.thought}"])
        for axis, outcome in zip(row[[1, 3, 4]], (pair.before, pair.exchanged, pair.control), strict=True):
            _panel(axis, pair.edited.image, said(outcome, pair.values))
            outline_target(axis, pair.expected)
            outline(axis, outcome.mask)
        row[0].set_ylabel(f"{pair.attribute}: {pair.values[0]} → {pair.values[1]}", fontsize=9)
    outline_legend(figure, "what B names, in A")
    return figure


def said(outcome: Outcome, values: tuple[str, str]) -> list[str]:
    """Lines below a mask: how well it fits either target, and which concepts were exchanged."""
    fits = zip(values, (outcome.iou_own, outcome.iou_expected), strict=True)
    lines = [f"IoU with {value}: {fit:.2f}" for value, fit in fits] if outcome.mask.any() else ["The mask is empty."]
    if outcome.concepts:
        more = len(outcome.concepts) - NAMED
        named = (concept.replace(" ", "\N{NO-BREAK SPACE}") for concept in outcome.concepts[:NAMED])
        lines.append("Concepts " + ", ".join(named) + (f" and {more} more" if more > 0 else ""))
    return lines


def _panel(axis: Axes, picture: np.ndarray, lines: Sequence[str]) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.set_anchor("NW")
    text = "\n".join(textwrap.fill(line, LETTERS) for line in lines)
    axis.set_xlabel(text, loc="left", fontsize=7.5, parse_math=False)
