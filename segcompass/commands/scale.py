"""`segcompass scale`: what a study needs, derived from its file before anything is run."""

import argparse
from pathlib import Path

from segcompass.commands.flags import add_whole_number
from segcompass.footprint.tables import scale_tables
from segcompass.study.load import load_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("study_file", type=Path, metavar="STUDY", help="params/<study>.yaml")
    add_whole_number(parser, "--gpus", 1, 1024, "that share a joint run, if it is divided", default=8, metavar="N")
    parser.add_argument("--markdown", action="store_true", help="tables as docs/scale.md shows them")


def run(arguments: argparse.Namespace) -> int:
    """Prints parameters, memory a GPU, disk and GPU hours."""
    tables = scale_tables(load_study(arguments.study_file), Path.cwd(), arguments.gpus)
    print("\n\n".join(table.markdown() if arguments.markdown else table.plain() for table in tables))
    return 0
