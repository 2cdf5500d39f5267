"""Rows of CSV whose texts come back as they were, carriage returns too.

Python's writer, and pandas with it, quotes what its line terminator contains: with a line feed alone, a carriage return in a text is
written bare, and readers take it for the end of a row. So rows are made with both, and stored with a line feed.
"""

from pathlib import Path
from typing import TextIO

import pandas as pd

MADE_WITH = "\r\n"
"""The line terminator that the writer must be given."""


class RowFile:
    """What a CSV writer writes to in the place of `file`, which was opened with `newline=""`."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, row: str) -> int:
        """Writes one row, which ends as `MADE_WITH` says."""
        return self.file.write(row.removesuffix(MADE_WITH) + "\n")


def write_frame(frame: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    """Writes a table without its index."""
    with path.open("w", newline="", encoding="utf-8") as file:
        frame.to_csv(RowFile(file), index=False, lineterminator=MADE_WITH, float_format=float_format)  # type: ignore[call-overload]
