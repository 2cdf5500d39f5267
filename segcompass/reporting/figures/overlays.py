"""Masks and heat maps over the picture that they are of."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from PIL import Image as PilImage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREDICTED = (213, 94, 0)
OUTLINE = ("#000000", "#00e5ff")
"""Of a mask: a dark line below a light one, to be seen on every colour."""
TARGET = ("#000000", "#ffffff")
"""Of where a mask should be, dashed."""
WIDTHS = (2.4, 1.2)
"""Of these lines, in points."""


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The image in grey with the mask's pixels tinted: uint8 [height, width, 3]."""
    grey = np.repeat(image.mean(2, keepdims=True), 3, 2)
    grey[mask] = 0.35 * grey[mask] + 0.65 * np.array(colour)
    return grey.astype(np.uint8)


def heat_overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image darkened where the heat map [m, m] is low; the map's padding (right, bottom) is cut off."""
    height, width = image.shape[:2]
    square = max(height, width)
    full = PilImage.fromarray(heat.astype(np.float32)).resize((square, square), PilImage.Resampling.BILINEAR)
    seen = np.asarray(full)[:height, :width, None]
    colours = colormaps["inferno"](seen[..., 0].clip(0, 1))[..., :3] * 255
    return (0.35 * image + 0.65 * colours).astype(np.uint8)


def outline(axis: "Axes", mask: np.ndarray, colours: tuple[str, str] = OUTLINE, style: str = "solid") -> None:
    """The border of a mask, bool [height, width], on the axis of its picture; closed where the picture ends."""
    if mask.any():
        columns, rows = (np.array([-0.5, *range(side), side - 0.5]) for side in mask.shape[::-1])
        for colour, thick in zip(colours, WIDTHS, strict=True):
            axis.contour(columns, rows, np.pad(mask, 1), [0.5], colors=[colour], linewidths=thick, linestyles=style)


def outline_target(axis: "Axes", mask: np.ndarray) -> None:
    """The border of where a mask should be, bool [height, width], on the axis of its picture."""
    outline(axis, mask, TARGET, "dashed")


def outline_legend(figure: "Figure", target: str) -> None:
    """What both lines are, below the figure; `target` says what the dashed one is."""
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], color=OUTLINE[1], label="mask"), Line2D([], [], color="#555555", linestyle="dashed", label=target)]
    figure.legend(handles=marks, loc="outside lower center", ncols=2)
