"""`segcompass predict`: thought, masks and confidences of a trained run for one image and one instruction."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from segcompass.backbone.instruction import TOO_LONG, UNKNOWN, InstructionReading
from segcompass.backbone.runtime import prepare_torch
from segcompass.commands.flags import add_share
from segcompass.datasets.images import read_image
from segcompass.datasets.masks import encode
from segcompass.datasets.samples import checked_text
from segcompass.errors import InputError
from segcompass.joint.checkpoint import described_run, load_joint
from segcompass.joint.inference import Prediction, Predictor
from segcompass.provenance.new_folder import new_folder
from segcompass.provenance.stage import input_fingerprint, read_run
from segcompass.reporting.figures.qualitative import PREDICTED, overlay
from segcompass.study.backbone import AnswerSettings, RuntimeSettings

MARGIN = 1 << 20
"""Bytes that a prediction takes beside its overlay and masks, at most about."""
THRESHOLD = 0.5
"""On probabilities, as the release has it on logits."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("instruction", metavar="INSTRUCTION", help="what to segment, in words")
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="results/<study>/joint/<variant>/seed<n>")
    add_share(parser, "--threshold", "confidence from which a slot counts; that of the run's training, or 0.5 where it had none")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a folder that is not there yet")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where to compute; where the run was trained, if that is here")


def run(arguments: argparse.Namespace) -> int:
    """Writes `mask.png`, `slot<k>.png` of the confident slots, `overlay.png` and `prediction.json`, and prints the answer."""
    checked_text(arguments.instruction, None, "INSTRUCTION")
    image = read_image(arguments.image)
    with new_folder(arguments.out, needed=2 * image.nbytes + MARGIN) as folder:
        predictor = load_predictor(arguments.model, arguments.threshold, arguments.device)
        (reading,) = predictor.readings([image], [arguments.instruction])
        refuse_unreadable(reading)
        thoughts = predictor.think([image], [arguments.instruction])
        (prediction,) = predictor.predictions(thoughts, predictor.segment(thoughts))
        (text,) = thoughts.texts
        found = described(prediction, arguments.instruction, reading, text)
        _mask_file(prediction.mask, folder / "mask.png")
        for slot in prediction.slots if prediction.status == "ok" else ():
            _mask_file(prediction.masks[slot], folder / f"slot{slot}.png")
        Image.fromarray(overlay(image, prediction.mask, PREDICTED)).save(folder / "overlay.png")
        (folder / "prediction.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if reading.unknown:
        print(f"words that the model does not know, and read as unknown: {', '.join(map(repr, reading.unknown))}")
    print(text)
    decision = "no target" if prediction.no_target else f"{int(prediction.mask.sum())} of {prediction.mask.size} pixels"
    print(f"{decision}; confidences {' '.join(f'{value:.2f}' for value in prediction.confidences)}; files in {arguments.out}")
    return 0


def load_predictor(run: Path, threshold: float | None, device: str | None = None) -> Predictor:
    """The predictor of a run that lies in its study's results, with the backbone and the dictionary that it was trained with.

    Args:
        run: folder of the run; what lies beside it is looked for where this path says, then where its links lead.
        threshold: confidence from which a slot counts; None for that of its training, or `THRESHOLD` where it had none.
        device: where it computes; where it was trained if None, or on the CPU of a machine that has no such device.

    Raises:
        InputError: the folder is no run, the backbone or dictionary beside it is another one by now, or the device is not there.
    """
    record = read_run(run)
    if record.get("stage") not in ("train_interface", "train_joint"):
        raise InputError(run / "run.json", "stage", f"is `{record.get('stage')}`; name a folder of train_joint or train_interface")
    params, study = record["params"], study_folder(run)
    settings, policy = described_run(run)
    backbone, sae = study / "backbone", study / "sae" / settings.sae
    for part in (backbone, sae):
        if input_fingerprint(part) not in record["inputs"].values():
            raise InputError(part / "run.json", "fingerprint", f"is not the one that {run} was trained with; restore it or train again")
    runtime = on_device(RuntimeSettings.model_validate_json(json.dumps(params["runtime"])), device)
    answer = AnswerSettings(slots=policy.slots, max_thought_tokens=policy.longest)
    prepare_torch(params["threads"], 0)
    threshold = params.get("confidence_threshold", THRESHOLD) if threshold is None else threshold
    return Predictor(load_joint(run, backbone, sae, runtime, answer), answer.longest, threshold)


def study_folder(run: Path) -> Path:
    """Folder of the study's results that a run lies in: above the path as it is given, or above the place where its links lead.

    Raises:
        InputError: neither holds a backbone.
    """
    given, real = (path.parents[2] for path in (run.absolute(), run.resolve()))
    for folder in (given, real):
        if (folder / "backbone" / "run.json").is_file():
            return folder
    places = " and ".join(dict.fromkeys((str(given), str(real))))
    raise InputError(run, "--model", f"has no `backbone` above it, in {places}; name results/<study>/joint/<variant>/seed<n>")


def on_device(recorded: RuntimeSettings, device: str | None) -> RuntimeSettings:
    """A run's settings for the machine at hand; those that only CUDA knows become what the CPU has in their place.

    Raises:
        InputError: the named device is not there.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise InputError(None, "--device", "is `cuda`, but torch finds no such device here; take `cpu`")
    wanted = device or (recorded.device if there else "cpu")
    attention = "sdpa" if wanted == "cpu" and recorded.attention == "flash_attention_2" else recorded.attention
    return recorded.model_copy(update={"device": wanted, "attention": attention})


def refuse_unreadable(reading: InstructionReading) -> None:
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


def described(prediction: Prediction, instruction: str, reading: InstructionReading, text: str) -> dict[str, Any]:
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
