"""`segcompass times`: wall time, processor time and peak memory of each stage of a study that was run, or processor time by claim."""

import argparse
from pathlib import Path

from segcompass.footprint.spent import spent_table
from segcompass.footprint.spent_by_claim import spent_by_claim
from segcompass.study.load import load_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("study_file", type=Path, metavar="STUDY", help="params/<study>.yaml")
    parser.add_argument("--claims", action="store_true", help="processor minutes by the claim that they were spent on")
    parser.add_argument("--markdown", action="store_true", help="the table as docs/default_study.md shows it")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table."""
    study = load_study(arguments.study_file)
    table = spent_by_claim(study, Path.cwd()) if arguments.claims else spent_table(study.study, Path.cwd())
    print(table.markdown() if arguments.markdown else table.plain())
    return 0
