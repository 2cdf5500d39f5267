"""A training run's curve as CSV: one row a step, blank where a step has no such value."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_curve(rows: Sequence[dict[str, Any]], path: Path, without_rows: Sequence[str] = ("step",)) -> None:
    """Writes the rows under the columns of all of them, in their first order; a run without steps leaves the header `without_rows`."""
    columns = list(dict.fromkeys(name for row in rows for name in row)) or list(without_rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
