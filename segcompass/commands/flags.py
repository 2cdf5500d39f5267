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


def add_share(parser: argparse.ArgumentParser, flag: str, says: str, **more: Any) -> None:
    """Adds a flag whose value is a number from 0 to 1."""

    def share(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 <= value <= 1:
            raise argparse.ArgumentTypeError(f"`{text[:40]}` is no number from 0 to 1")
        return value

    parser.add_argument(flag, type=share, help=f"{says}, 0 to 1", **more)
