"""`segcompass predict`: thought, masks and confidences of a trained run for one image and one instruction."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.images import read_image
from segcompass.datasets.masks import encode
from segcompass.errors import InputError
from segcompass.joint.checkpoint import load_joint, run_settings
from segcompass.joint.inference import Prediction, Predictor
from segcompass.provenance.stage import input_fingerprint, read_run
from segcompass.reporting.figures.qualitative import PREDICTED, overlay
from segcompass.study.backbone import AnswerSettings, RuntimeSettings

THRESHOLD = 0.5
"""On probabilities, as the release has it on logits."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("instruction", metavar="INSTRUCTION", help="what to segment, in words")
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="results/<study>/joint/<variant>/seed<n>")
    parser.add_argument(
        "--threshold", type=float, help="confidence from which a slot counts; that of the run's training, or 0.5 where it had none"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a folder that is not there yet")


def run(arguments: argparse.Namespace) -> int:
    """Writes `mask.png`, `slot<k>.png` of the confident slots, `overlay.png` and `prediction.json`, and prints the answer."""
    if not arguments.instruction.strip():
        raise InputError(arguments.image, "INSTRUCTION", "is empty; say what to segment")
    if arguments.out.exists():
        raise InputError(arguments.out, "--out", "exists already; name a new folder")
    image = read_image(arguments.image)
    predictor = load_predictor(arguments.model, arguments.threshold)
    thoughts = predictor.think([image], [arguments.instruction])
    (prediction,) = predictor.predictions(thoughts, predictor.segment(thoughts))
    (text,) = thoughts.texts
    partial = arguments.out.with_name(f".{arguments.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    found = described(prediction, arguments.instruction, text)
    _mask_file(prediction.mask, partial / "mask.png")
    for slot in prediction.slots if prediction.status == "ok" else ():
        _mask_file(prediction.masks[slot], partial / f"slot{slot}.png")
    Image.fromarray(overlay(image, prediction.mask, PREDICTED)).save(partial / "overlay.png")
    (partial / "prediction.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    partial.rename(arguments.out)
    print(text)
    decision = "no target" if prediction.no_target else f"{int(prediction.mask.sum())} of {prediction.mask.size} pixels"
    print(f"{decision}; confidences {' '.join(f'{value:.2f}' for value in prediction.confidences)}; files in {arguments.out}")
    return 0


def load_predictor(run: Path, threshold: float | None) -> Predictor:
    """The predictor of a run that lies in its study's results, with the backbone and the dictionary that it was trained with.

    Raises:
        InputError: the folder is no run, or the backbone or dictionary beside it is another one by now.
    """
    record = read_run(run)
    if record.get("stage") not in ("train_interface", "train_joint"):
        raise InputError(run / "run.json", "stage", f"is `{record.get('stage')}`; name a folder of train_joint or train_interface")
    params, study = record["params"], run.resolve().parents[2]
    backbone, sae = study / "backbone", study / "sae" / run_settings(run).sae
    for part in (backbone, sae):
        if input_fingerprint(part) not in record["inputs"].values():
            raise InputError(part / "run.json", "fingerprint", f"is not the one that {run} was trained with; restore it or train again")
    runtime = RuntimeSettings.model_validate_json(json.dumps(params["runtime"]))
    answer = AnswerSettings.model_validate_json(json.dumps(params["answer"]))
    prepare_torch(params["threads"], 0)
    threshold = params.get("confidence_threshold", THRESHOLD) if threshold is None else threshold
    return Predictor(load_joint(run, backbone, sae, runtime, answer), answer.longest, threshold)


def described(prediction: Prediction, instruction: str, text: str) -> dict[str, Any]:
    """The prediction as JSON: answer, decision, masks as COCO RLE."""
    slots = [
        {"slot": slot, "confidence": float(confidence), "confident": slot in prediction.slots, "segmentation": encode(mask)}
        for slot, (confidence, mask) in enumerate(zip(prediction.confidences, prediction.masks, strict=True))
    ]
    return {
        "instruction": instruction,
        "answer": text,
        "status": prediction.status,
        "no_target": prediction.no_target,
        "segmentation": encode(prediction.mask),
        "slots": slots,
    }


def _mask_file(mask: np.ndarray, path: Path) -> None:
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
