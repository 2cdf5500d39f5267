"""`segcompass cache-size`: bytes of a cached token and of a study's whole activation cache, beside the release's padded one."""

import argparse
from pathlib import Path

from segcompass.footprint.tables import cache_table
from segcompass.study.load import load_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("study_file", type=Path, metavar="STUDY", help="params/<study>.yaml")
    parser.add_argument("--markdown", action="store_true", help="the table as docs/scale.md shows it")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table."""
    table = cache_table(load_study(arguments.study_file), Path.cwd())
    print(table.markdown() if arguments.markdown else table.plain())
    return 0
