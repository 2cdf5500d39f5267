"""A table of the report: numbers once, written as tidy CSV, Markdown, LaTeX and HTML."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import pandas as pd

UNKNOWN = "–"


@dataclass(frozen=True)
class Value:
    """A figure in the unit that is printed, with its spread over seeds or its interval where it has one."""

    mean: float
    sd: float = math.nan
    seeds: int = 0
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    """Of a difference from 0, before correction."""
    p_holm: float = math.nan
    """Corrected within the family that the table's caption names."""
    marked: bool = False
    """Whether a `*` follows it; the table's caption says what for."""
    whole: bool = False
    """Whether it counts things, and is printed without decimals."""

    def text(self, decimals: int) -> str:
        """`mean ± sd`, `mean [low, high]`, or the mean alone; a dash where it is unknown."""
        if math.isnan(self.mean):
            return UNKNOWN
        shown = f"{self.mean:z.{0 if self.whole else decimals}f}"
        if not math.isnan(self.low):
            return f"{shown} [{self.low:z.{decimals}f}, {self.high:z.{decimals}f}]" + " *" * self.marked
        return shown if math.isnan(self.sd) else f"{shown} ± {self.sd:z.{decimals}f}"


@dataclass
class Table:
    """Rows of named values; a row's `source` is `ours` or `published, another world`."""

    name: str
    caption: str
    columns: Sequence[str]
    decimals: int = 1
    rows: list[tuple[str, str, dict[str, Value]]] = field(default_factory=list)

    def add(self, label: str, values: dict[str, Value], source: str = "ours") -> None:
        """Adds a row; columns without a value are unknown."""
        self.rows.append((label, source, values))

    def write(self, folder: Path) -> None:
        """Writes `<name>.csv`, `.md`, `.tex` and `.html`."""
        write_table(self.name, self.caption, self.tidy(), self._shown(), folder)

    def tidy(self) -> pd.DataFrame:
        """One row a known value."""
        found = [
            {"row": label, "source": source, "column": column, "mean": value.mean, "sd": value.sd, "seeds": value.seeds or math.nan}
            | {"low": value.low, "high": value.high, "p": value.p, "p_holm": value.p_holm}
            for label, source, values in self.rows
            for column in self.columns
            if (value := values.get(column)) is not None and not math.isnan(value.mean)
        ]
        frame = pd.DataFrame(found, columns=["row", "source", "column", "mean", "sd", "seeds", "low", "high", "p", "p_holm"])
        return frame.astype({"seeds": "Int64"})

    def markdown(self) -> str:
        """Caption and pipe table."""
        return markdown(self.caption, self._shown())

    def _shown(self) -> pd.DataFrame:
        sources = {source for _, source, _ in self.rows}
        frame = []
        for label, source, values in self.rows:
            marked = f"{label} ({source})" if source != "ours" and len(sources) > 1 else label
            frame.append([marked, *(values.get(column, Value(math.nan)).text(self.decimals) for column in self.columns)])
        return pd.DataFrame(frame, columns=["", *self.columns])


def write_table(name: str, caption: str, tidy: pd.DataFrame, shown: pd.DataFrame, folder: Path) -> None:
    """Writes `<name>.csv`, the tidy rows, and `.md`, `.tex` and `.html`, the texts that are shown."""
    tidy.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    made = {"md": markdown(caption, shown), "tex": latex(name, caption, shown), "html": html(name, caption, shown)}
    for ending, text in made.items():
        (folder / f"{name}.{ending}").write_text(text, encoding="utf-8")


def markdown(caption: str, shown: pd.DataFrame) -> str:
    """Caption and pipe table."""
    return f"{caption}\n\n{shown.to_markdown(index=False, disable_numparse=True)}\n"


def latex(name: str, caption: str, shown: pd.DataFrame) -> str:
    """A `table` environment with booktabs rules; code stands as plain text."""
    columns = "l" + "r" * (len(shown.columns) - 1)
    styled = shown.map(_latex_text)
    styled.columns = [_latex_text(column) for column in styled.columns]
    return styled.to_latex(index=False, column_format=columns, caption=_latex_text(caption), label=f"tab:{name}", position="tbp")


def html(name: str, caption: str, shown: pd.DataFrame) -> str:
    """A page with caption and table, for `snakemake --report`."""
    title = f"<title>{name}</title>"
    style = "<style>body{font-family:sans-serif} td,th{padding:.2em .6em;text-align:right} td:first-child{text-align:left}</style>"
    head = f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{title}{style}</head>'
    return f"{head}\n<body><p>{escape(caption)}</p>\n{shown.to_html(index=False, border=0)}\n</body></html>\n"


def _latex_text(text: str) -> str:
    for sign, written in (("±", r"$\pm$"), ("%", r"\%"), ("_", r"\_"), ("&", r"\&")):
        text = text.replace(sign, written)
    return text
