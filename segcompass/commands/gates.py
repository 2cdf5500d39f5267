"""`segcompass gates`: whether a base policy has room for reinforcement and can be taught, the gates of its card.

With a trained interface it also says what right thoughts are worth to the mask. Nothing but train and val is read.
"""

import argparse
import json
from pathlib import Path

from segcompass.backbone.card import read_card, write_card
from segcompass.backbone.load import load_vlm
from segcompass.backbone.runtime import prepare_torch
from segcompass.commands.flags import MOST_SEED, add_whole_number
from segcompass.datasets.artefact import LearningData
from segcompass.errors import InputError
from segcompass.joint.checkpoint import load_joint
from segcompass.joint.gates import asked_samples, learnable, room, worth
from segcompass.joint.inference import Predictor
from segcompass.study.jobs import sae_layer
from segcompass.study.load import load_study

TAUGHT = 400
"""Training prompts of each benchmark that fine-tuning draws from."""
MOST_SAMPLES = 1_000_000
"""More than any benchmark has."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="with `vlm` and `sam`, as backbones/embedded")
    parser.add_argument("--study", type=Path, required=True, help="study file with the answer's form, benchmarks, runtime and threads")
    parser.add_argument("--data", type=Path, required=True, metavar="ARTEFACT", help="results/<study>/data of the embedded world")
    parser.add_argument("--interface", type=Path, metavar="RUN", help="results/<study>/interface/<variant>/seed<seed>; needs --sae")
    parser.add_argument("--sae", type=Path, metavar="ARTEFACT", help="the dictionary of that run, results/<study>/sae/<name>")
    add_whole_number(parser, "--each", 1, MOST_SAMPLES, "val samples of each benchmark", default=100, metavar="N")
    add_whole_number(parser, "--seed", 0, MOST_SEED, "of sampled answers", default=0, metavar="N")
    parser.add_argument("--card", action="store_true", help="write them onto the folder's card too")


def run(arguments: argparse.Namespace) -> int:
    """Prints one JSON object: measure -> value."""
    study = load_study(arguments.study)
    if not (arguments.data / "supervision" / "val.jsonl").is_file():
        raise InputError(arguments.data / "supervision" / "val.jsonl", "", "is missing; name a data artefact of the embedded world")
    if (arguments.interface is None) != (arguments.sae is None):
        raise InputError(None, "--interface, --sae", "belong together; give both or neither")
    card = read_card(arguments.folder) if arguments.card else {}
    if arguments.card and "vlm" not in card:
        raise InputError(arguments.folder / "card.json", "vlm", "is missing; leave --card out, or ship the backbone first")
    data, longest = LearningData(arguments.data), study.answer.longest
    held = asked_samples(data, study.answers.benchmarks, "val", arguments.each)
    taught = asked_samples(data, study.answers.benchmarks, "train", TAUGHT)
    prepare_torch(study.threads, arguments.seed)
    vlm = load_vlm(arguments.folder / "vlm", study.runtime, study.answer)
    reference = study.interface_variant(study.experiments.interface.reference).model
    vlm.freeze_up_to(sae_layer(study, reference.sae))
    model = None
    if arguments.interface is not None:
        model = load_joint(arguments.interface, arguments.folder, arguments.sae, study.runtime, study.answer)
    found = room(vlm, data, held, longest, arguments.seed)
    if model is not None:
        found |= worth(Predictor(model, longest, study.evaluation.confidence_threshold), data, held, arguments.seed)
    found |= learnable(vlm, data, taught, held, longest)
    shown = {name: round(float(value), 4) for name, value in found.items()}
    if arguments.card:
        card["vlm"]["gates"] = shown
        write_card(arguments.folder, card)
    print(json.dumps(shown, indent=1))
    return 0
