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
SAYS = {
    "caption_recall": "objects of the scene that captions name with right size, colour, shape and place",
    "caption_precision": "named objects that are there",
    "thought_right_refcoco": "RefCOCO thoughts that end in the right target and place",
    "thought_right_refcoco+": "RefCOCO+ (appearance only)",
    "thought_right_refcocog": "RefCOCOg (relations)",
    "thought_right_grefcoco_several": "gRefCOCO, several targets, the set exactly right",
    "thought_right_grefcoco_none": "gRefCOCO, expressions that fit nothing recognised",
    "thought_right_reasonseg": "ReasonSeg, zero-shot: things that no picture's text named",
    "thought_right_implicit": "the same wording with things that the text named",
    "facts_recalled": "facts recalled word for word",
    "answer_valid": "answers that keep the form",
    "greedy_wrong_one_sample_right": "room for reinforcement learning: greedy thought wrong, one of 8 sampled ones right, of all prompts",
    "reference_probe_place": "linear probe of the first reference token's last state: the target's place",
    "reference_probe_shape": "the same, its shape",
    "reference_probe_colour": "the same, its colour",
    "reference_probe_size": "the same, its size",
    "reference_probe_pattern": "the same, its pattern",
    "embedding_probe_place": "linear probe of SAM's embedding of a cell on an object: the object's place",
    "embedding_probe_shape": "the same, its shape",
    "embedding_probe_colour": "the same, its colour",
    "embedding_probe_size": "the same, its size",
    "embedding_probe_pattern": "the same, its pattern",
    "mask_iou": "SAM: IoU of the mask from a blurred, noisy mask prompt",
}
"""Score -> what it is the share of; scores that are not listed stand under their names."""
LAST = 100
"""Steps over whose mean a phase's final losses are reported."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("artefact", type=Path, metavar="ARTEFACT", help="results/<study>/backbone, built")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the repository, as `backbone.folder` names it")


def run(arguments: argparse.Namespace) -> int:
    """Replaces the folder's two models, its `card.json` and the page that shows it."""
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
    (arguments.folder / "README.md").write_text(card_text(card), encoding="utf-8")
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


def card_text(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    shown = {name: card["scores"][name] for name in SAYS if name in card["scores"]}
    rest = {name: value for name, value in sorted(card["scores"].items()) if name not in shown}
    scores = [f"| {SAYS.get(name, name.replace('_', ' '))} | {100 * value:.1f} % |" for name, value in (shown | rest).items()]
    losses = card[f"mean losses of the last {LAST} steps"]
    phases = [
        f"| {name} | {steps:,} | {card['seconds of each phase'][name]:,.0f} | {losses[name]['total']:.3f} |"
        for name, steps in card["steps"].items()
    ]
    return "\n".join(
        [
            "# Embedded backbone",
            "",
            "A small `LlavaForConditionalGeneration` with its processor (`vlm/`) and a small `SamModel` (`sam/`), trained from nothing",
            "on the embedded world. `from_pretrained` of transformers loads both folders without this project. `card.json` holds the",
            "whole recipe, versions, losses and the digest of every file; `segcompass ship-backbone` writes this page from it.",
            "",
            f"Trained at commit {card['commit']}, seed {card['recipe']['backbone']['seed']}, {card['recipe']['threads']} thread.",
            "",
            "| held-out scenes, greedy decoding | share |",
            "|---|---|",
            *scores,
            "",
            f"| phase | steps | seconds | mean loss of the last {LAST} steps |",
            "|---|---|---|---|",
            *phases,
            "",
        ]
    )


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of the two models, by path below the folder."""
    files = sorted(path for part in PARTS for path in (folder / part).iterdir())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
