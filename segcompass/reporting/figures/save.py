"""Writes a figure as PDF and PNG with the CSV that it drew; the same figure gives the same bytes."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from segcompass.protocols.csv_rows import write_frame

STYLE = Path(__file__).with_name("paper.mplstyle")


def save_figure(draw: Callable[[], Figure], drawn: pd.DataFrame, folder: Path, name: str) -> None:
    """Draws in the report's style and writes `<name>.pdf`, `.png` and `.csv`."""
    mpl.use("agg")
    with pyplot.style.context(str(STYLE)):
        figure = draw()
        settle(figure)
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
        figure.savefig(folder / f"{name}.png", metadata={"Software": None})
        pyplot.close(figure)
    write_frame(drawn, folder / f"{name}.csv")


def settle(figure: Figure) -> None:
    """Lays the figure out once and rounds the places of its axes: the solver's last digits differ from process to process, and where the
    edge of a picture falls between two pixels they decide which of them it fills."""
    figure.canvas.draw()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        left, bottom, width, height = (round(float(side), 6) for side in axis.get_position(original=True).bounds)
        axis.set_position((left, bottom, width, height))


def keep_place(folder: Path, name: str) -> None:
    """Writes `<name>.png`, which says that the study has nothing to draw in it; there is neither PDF nor CSV of it."""
    mpl.use("agg")
    with pyplot.style.context(str(STYLE)):
        figure = pyplot.figure(figsize=(3.2, 0.6))
        figure.text(0.5, 0.5, "this study has nothing to draw here", ha="center", va="center")
        figure.savefig(folder / f"{name}.png", metadata={"Software": None})
        pyplot.close(figure)
