"""Flags that several commands have; numeric ones state their range in the help and check it before anything is read."""

import argparse
from pathlib import Path
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


def add_question(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of commands that ask a model: about which picture, and what."""
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("instruction", metavar="INSTRUCTION", help="what to segment, in words")


def add_new_folder(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds the flag of where files are written."""
    parser.add_argument("--out", type=Path, default=Path(default), metavar="FOLDER", help="a folder that is not there yet; %(default)s")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of commands that run a trained model: which, and how."""
    where = "results/<study>/joint/<variant>/seed<n>, or a run that was shipped; that in backbones/ if left out"
    parser.add_argument("--model", type=Path, metavar="RUN", help=where)
    add_share(parser, "--threshold", "confidence from which a slot counts; that of the run's training, or 0.5 where it had none")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where to compute; where the run was trained, if that is here")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the backbone's arithmetic; that of the run's training")
