"""`segcompass times`: wall time, processor time and peak memory of each stage of a study that was run."""

import argparse
from pathlib import Path

from segcompass.footprint.spent import spent_table
from segcompass.study.load import load_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("study_file", type=Path, metavar="STUDY", help="params/<study>.yaml")
    parser.add_argument("--markdown", action="store_true", help="the table as docs/default_study.md shows it")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table."""
    table = spent_table(load_study(arguments.study_file).study, Path.cwd())
    print(table.markdown() if arguments.markdown else table.plain())
    return 0
