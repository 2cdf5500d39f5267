"""`segcompass ship-backbone`: copies a built backbone into the repository's folder, with a card that says how it was made."""

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from segcompass.errors import InputError
from segcompass.provenance.stage import read_run

PARTS = ("vlm", "sam")
LAST = 100
"""Steps over whose mean a phase's final losses are reported."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("artefact", type=Path, metavar="ARTEFACT", help="results/<study>/backbone, built")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the repository, as `backbone.folder` names it")


def run(arguments: argparse.Namespace) -> int:
    """Replaces the folder's two models and its `card.json`."""
    record = read_run(arguments.artefact)
    if record["params"]["backbone"]["source"] != "build":
        raise InputError(
            arguments.artefact, "source", "was not built but taken from folders; set backbone.source to build and run it again"
        )
    for part in PARTS:
        target = arguments.folder / part
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(arguments.artefact / part, target)
        for file in target.iterdir():
            file.chmod(0o644)
    card = card_of(record, pd.read_csv(arguments.artefact / "curves.csv"), arguments.folder)
    (arguments.folder / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return 0


def card_of(record: dict[str, Any], curves: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Recipe with its seed, commit, seconds, final losses, scores and the digest of every file."""
    last = curves.groupby("phase", sort=False).tail(LAST).groupby("phase", sort=False)
    losses = {str(phase): part.drop(columns=["phase", "step"]).mean().dropna().round(5).to_dict() for phase, part in last}
    steps = {str(phase): int(count) for phase, count in curves.groupby("phase", sort=False).size().items()}
    return {
        "recipe": record["params"],
        "commit": record["commit"],
        "code": record["code"],
        "seconds of each phase": record["facts"]["phase_seconds"],
        "steps": steps,
        f"mean losses of the last {LAST} steps": losses,
        "scores": record["facts"]["scores"],
        "versions": record["versions"],
        "files": file_digests(folder),
    }


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of the two models, by path below the folder."""
    files = sorted(path for part in PARTS for path in (folder / part).iterdir())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
