"""`segcompass ship-backbone`: copies a backbone's trained parts into the repository's folder, with a card that says how they were made."""

import argparse
import shutil
from pathlib import Path

import pandas as pd

from segcompass.backbone.card import merged, part_entry, read_card, write_card
from segcompass.errors import InputError
from segcompass.provenance.stage import read_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("artefact", type=Path, metavar="ARTEFACT", help="results/<study>/backbone, built")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the repository, as `backbone.folder` names it")
    parser.add_argument("--parts", nargs="+", metavar="PART", help="ship these trained parts alone (vlm, sam, …); all of them if left out")


def run(arguments: argparse.Namespace) -> int:
    """Replaces the parts that the artefact has trained, their entries of `card.json`, and the page that shows it."""
    record = read_run(arguments.artefact)
    trained = list(record["facts"].get("parts", {}))
    if not trained:
        raise InputError(
            arguments.artefact, "source", "was not built but taken from folders; set backbone.source to build and run it again"
        )
    parts = arguments.parts or trained
    if unknown := [part for part in parts if part not in trained]:
        raise InputError(arguments.artefact, "--parts", f"holds no trained `{unknown[0]}`; choose from {', '.join(trained)}")
    curves = pd.read_csv(arguments.artefact / "curves.csv")
    entries = {part: part_entry(record, curves, arguments.artefact, part) for part in parts}
    card = merged(read_card(arguments.folder), entries)
    if "vlm" not in card or "sam" not in card:
        raise InputError(arguments.folder, "--parts", "has neither a shipped `vlm` and `sam` nor gets them; ship these first")
    for part in parts:
        target = arguments.folder / part
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(arguments.artefact / part, target)
        for file in target.iterdir():
            file.chmod(0o644)
    write_card(arguments.folder, card)
    return 0
