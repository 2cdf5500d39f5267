"""Numbers of tables that are not finite: refused before a table is published, and when it is read.

What is not defined stands in a table as an empty cell, NaN once it is read. An infinite number is never such a cell, and the means that
tables are made for do not survive one. Without torch: stages that only score or draw do not import it.
"""

from collections.abc import Collection, Mapping
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from segcompass.errors import InputError


def finite_row(row: Mapping[str, Any], path: Path, name: str) -> None:
    """Refuses a row, called `name`, of a table that is about to be written.

    Raises:
        InputError: naming row, column and value, if a number is infinite or NaN; what is not defined must be an empty text.
    """
    for column, value in row.items():
        if isinstance(value, Real) and not isfinite(value):
            raise InputError(
                path, f"{name}: {column}", f"would be {float(value)}; nothing of that kind is published, so look at its inputs"
            )


def finite_frame(frame: pd.DataFrame, path: Path, remedy: str, filled: Collection[str] = (), but: Collection[str] = ()) -> None:
    """Refuses a table, written or read, that holds an infinite number, or an empty cell in a column of `filled`.

    Args:
        frame: the table; NaN stands for an empty cell.
        path: its file.
        remedy: what to do, as the end of a sentence.
        filled: columns that are defined in every row.
        but: columns in which an infinite number has a meaning.

    Raises:
        InputError: naming row (the first below the header is row 1), column and value.
    """
    for column in frame.columns:
        if column in but or not pd.api.types.is_float_dtype(frame[column]):
            continue
        values = frame[column].to_numpy(np.float64, na_value=np.nan)
        wrong = ~np.isfinite(values) if column in filled else np.isinf(values)
        if wrong.any():
            place = int(wrong.argmax())
            raise InputError(path, f"row {place + 1}: {column}", f"is {values[place]}; {remedy}")
