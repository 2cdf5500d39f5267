"""`segcompass predict`: thought, masks and confidences of a trained run for one image and one instruction."""

import argparse
import json
from typing import Any

from PIL import Image

from segcompass.backbone.instruction import InstructionReading
from segcompass.commands.flags import add_new_folder, add_question, add_run
from segcompass.datasets.images import read_image
from segcompass.datasets.masks import encode
from segcompass.datasets.samples import checked_text
from segcompass.explain.answered import answered
from segcompass.explain.picture import save_mask
from segcompass.joint.inference import Prediction
from segcompass.joint.stored_run import load_predictor, stored_run
from segcompass.provenance.new_folder import new_folder
from segcompass.reporting.figures.overlays import PREDICTED, overlay

MARGIN = 1 << 20
"""Bytes that a prediction takes beside its overlay and masks, at most about."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_question(parser)
    add_run(parser)
    add_new_folder(parser, "prediction")


def run(arguments: argparse.Namespace) -> int:
    """Writes `mask.png`, `slot<k>.png` of the confident slots, `overlay.png` and `prediction.json`, and prints the answer."""
    checked_text(arguments.instruction, None, "INSTRUCTION")
    image = read_image(arguments.image)
    with new_folder(arguments.out, needed=2 * image.nbytes + MARGIN) as folder:
        predictor = load_predictor(stored_run(arguments.model), arguments.threshold, arguments.device, arguments.dtype)
        answer = answered(predictor, image, arguments.instruction)
        reading, prediction = answer.reading, answer.prediction
        found = described(prediction, arguments.instruction, reading, answer.text)
        save_mask(prediction.mask, folder / "mask.png")
        for slot in prediction.slots if prediction.status == "ok" else ():
            save_mask(prediction.masks[slot], folder / f"slot{slot}.png")
        Image.fromarray(overlay(image, prediction.mask, PREDICTED)).save(folder / "overlay.png")
        (folder / "prediction.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if reading.unknown:
        print(f"words that the model does not know, and read as unknown: {', '.join(map(repr, reading.unknown))}")
    print(answer.text)
    decision = "no target" if prediction.no_target else f"{int(prediction.mask.sum())} of {prediction.mask.size} pixels"
    print(f"{decision}; confidences {' '.join(f'{value:.2f}' for value in prediction.confidences)}; files in {arguments.out}")
    return 0


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
