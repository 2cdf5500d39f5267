"""`segcompass predict`: thought, masks and confidences of a trained run for one image and one instruction."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segcompass.backbone.instruction import TOO_LONG, UNKNOWN, Reading
from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.images import read_image
from segcompass.datasets.masks import encode
from segcompass.datasets.samples import checked_text
from segcompass.errors import InputError
from segcompass.joint.checkpoint import load_run
from segcompass.joint.inference import Prediction, Predictor
from segcompass.provenance.stage import input_fingerprint, read_run
from segcompass.reporting.figures.qualitative import PREDICTED, overlay
from segcompass.study.backbone import AnswerSettings, RuntimeSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("instruction", metavar="INSTRUCTION", help="what to segment, in words")
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="results/<study>/joint/<variant>/seed<n>")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a folder that is not there yet")


def run(arguments: argparse.Namespace) -> int:
    """Writes `mask.png`, `slot<k>.png` of the confident slots, `overlay.png` and `prediction.json`, and prints the answer."""
    checked_text(arguments.instruction, None, "INSTRUCTION")
    if arguments.out.exists():
        raise InputError(arguments.out, "--out", "exists already; name a new folder")
    image = read_image(arguments.image)
    predictor = load_predictor(arguments.model)
    (reading,) = predictor.readings([image], [arguments.instruction])
    refuse_unreadable(reading)
    thoughts = predictor.think([image], [arguments.instruction])
    (prediction,) = predictor.predictions(thoughts, predictor.segment(thoughts))
    (text,) = thoughts.texts
    partial = arguments.out.with_name(f".{arguments.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    found = described(prediction, arguments.instruction, reading, text)
    _mask_file(prediction.mask, partial / "mask.png")
    for slot in prediction.slots if prediction.status == "ok" else ():
        _mask_file(prediction.masks[slot], partial / f"slot{slot}.png")
    Image.fromarray(overlay(image, prediction.mask, PREDICTED)).save(partial / "overlay.png")
    (partial / "prediction.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    partial.rename(arguments.out)
    if reading.unknown:
        print(f"words that the model does not know, and read as unknown: {', '.join(map(repr, reading.unknown))}")
    print(text)
    decision = "no target" if prediction.no_target else f"{int(prediction.mask.sum())} of {prediction.mask.size} pixels"
    print(f"{decision}; confidences {' '.join(f'{value:.2f}' for value in prediction.confidences)}; files in {arguments.out}")
    return 0


def load_predictor(run: Path) -> Predictor:
    """The predictor of a run that lies in its study's results, with the backbone and the dictionary that it was trained with.

    Raises:
        InputError: the folder is no run, or the backbone or dictionary beside it is another one by now.
    """
    record = read_run(run)
    if record.get("stage") != "train_joint":
        raise InputError(run / "run.json", "stage", f"is `{record.get('stage')}`; name a folder of train_joint")
    params, study = record["params"], run.resolve().parents[2]
    backbone, sae = study / "backbone", study / "sae" / params["joint"]["interface"]["sae"]
    for part in (backbone, sae):
        if input_fingerprint(part) not in record["inputs"].values():
            raise InputError(part / "run.json", "fingerprint", f"is not the one that {run} was trained with; restore it or train again")
    runtime = RuntimeSettings.model_validate_json(json.dumps(params["runtime"]))
    answer = AnswerSettings.model_validate_json(json.dumps(params["answer"]))
    prepare_torch(params["threads"], 0)
    return Predictor(load_run(run, backbone, sae, runtime, answer), answer.longest, params["confidence_threshold"])


def refuse_unreadable(reading: Reading) -> None:
    """Refuses what the model would answer without having read it.

    Raises:
        InputError: the instruction is longer than the model reads, or the model knows no word of it.
    """
    if reading.status == TOO_LONG:
        problem = f"has {reading.tokens} tokens, and the model has room for {reading.room}; shorten it"
        raise InputError(None, "INSTRUCTION", problem)
    if reading.status == UNKNOWN:
        words = ", ".join(map(repr, reading.unknown)) or "nothing"
        raise InputError(None, "INSTRUCTION", f"has no word that the model knows ({words[:200]}); use words that it was trained on")


def described(prediction: Prediction, instruction: str, reading: Reading, text: str) -> dict[str, Any]:
    """The prediction as JSON: answer, decision, masks as COCO RLE."""
    slots = [
        {"slot": slot, "confidence": float(confidence), "confident": slot in prediction.slots, "segmentation": encode(mask)}
        for slot, (confidence, mask) in enumerate(zip(prediction.confidences, prediction.masks, strict=True))
    ]
    return {
        "instruction": instruction,
        "instruction_tokens": reading.tokens,
        "unknown_words": list(reading.unknown),
        "answer": text,
        "status": prediction.status,
        "no_target": prediction.no_target,
        "segmentation": encode(prediction.mask),
        "slots": slots,
    }


def _mask_file(mask: np.ndarray, path: Path) -> None:
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
