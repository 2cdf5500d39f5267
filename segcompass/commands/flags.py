"""Numeric flags that state their range in the help and check it before anything is read."""

import argparse
from typing import Any

MOST_SEED = 2**32 - 1
"""NumPy's older generators take no greater seed."""


def add_whole_number(parser: argparse.ArgumentParser, flag: str, low: int, high: int, says: str, **more: Any) -> None:
    """Adds a flag whose value is a whole number from `low` to `high`; `says` is its help, `more` what `add_argument` takes."""

    def number(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"`{text[:40]}` is no whole number from {low} to {high}")
        return value

    parser.add_argument(flag, type=number, help=f"{says}, {low} to {high}", **more)
