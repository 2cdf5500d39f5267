"""`segcompass score-backbone`: what an embedded backbone can do on held-out scenes, the scores of its card."""

import argparse
import json
from pathlib import Path

from segcompass.backbone.load import load_segmenter, load_vlm
from segcompass.backbone.runtime import prepare_torch
from segcompass.backbone.training.scores import sam_scores, vlm_scores
from segcompass.commands.flags import MOST_SEED, add_whole_number
from segcompass.errors import InputError
from segcompass.study.load import load_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="with `vlm`, `sam` and the study's smaller SAMs, as backbones/embedded")
    parser.add_argument("--study", type=Path, required=True, help="study file with the answer's form, runtime and threads")
    parser.add_argument("--data", type=Path, required=True, metavar="ARTEFACT", help="results/<study>/data of the embedded world")
    add_whole_number(parser, "--seed", 0, MOST_SEED, "of sampled answers and noisy prompts", default=0, metavar="N")


def run(arguments: argparse.Namespace) -> int:
    """Prints one JSON object: score -> share in 0 … 1."""
    study = load_study(arguments.study)
    if not (arguments.data / "supervision" / "val.jsonl").is_file():
        raise InputError(arguments.data / "supervision" / "val.jsonl", "", "is missing; name a data artefact of the embedded world")
    prepare_torch(study.threads, arguments.seed)
    vlm = load_vlm(arguments.folder / "vlm", study.runtime, study.answer)
    scores = vlm_scores(vlm, arguments.data, study.answer.longest, arguments.seed)
    for name in study.backbone.segmenters:
        scores |= sam_scores(load_segmenter(arguments.folder / name, study.runtime), arguments.data, arguments.seed, name)
    print(json.dumps(scores, indent=1, sort_keys=True))
    return 0
