"""`segcompass scale`: what a study needs, derived from its file before anything is run."""

import argparse
from pathlib import Path

from segcompass.footprint.tables import scale_tables
from segcompass.study.load import load_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("study_file", type=Path, metavar="STUDY", help="params/<study>.yaml")
    parser.add_argument("--gpus", type=int, default=8, choices=range(1, 1025), metavar="N", help="that share a joint run, if it is divided")
    parser.add_argument("--markdown", action="store_true", help="tables as docs/scale.md shows them")


def run(arguments: argparse.Namespace) -> int:
    """Prints parameters, memory a GPU, disk and GPU hours."""
    tables = scale_tables(load_study(arguments.study_file), Path.cwd(), arguments.gpus)
    print("\n\n".join(table.markdown() if arguments.markdown else table.plain() for table in tables))
    return 0
