"""Trains the embedded LLaVA and SAM on the embedded world, phase by phase, and scores them on held-out scenes.

Vision tower on dense patch targets, language model on captions, facts and gold thoughts, SAM's encoder on dense targets, its decoder on
mask prompts. A pretrained backbone is taken from the folders that the study names, unchanged.
"""

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segcompass.backbone.build import build_processor, build_sam, build_tokenizer, build_vlm, save_embedded
from segcompass.backbone.llava import LlavaModel
from segcompass.backbone.prompt import answer_text, status_of
from segcompass.backbone.runtime import prepare_torch
from segcompass.backbone.sam import SamSegmenter
from segcompass.backbone.training.language import train_language
from segcompass.backbone.training.scenes import read_scenes
from segcompass.backbone.training.segmenter import noisy_prompt, object_targets, train_decoder, train_encoder
from segcompass.backbone.training.vision import scene_pixels, train_vision
from segcompass.datasets.files import read_image
from segcompass.errors import InputError
from segcompass.provenance.folder_digest import folder_digest
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, EmbeddedBackbone
from segcompass.world.instructions import vocabulary

FLAGS = {"data": "artefact of prepare_data"}
SCORED = 64
"""Held-out instructions, and at most as many held-out scenes, of the scores."""


def work(stage: Stage) -> None:
    """Fills `vlm/`, `sam/`, `curves.csv` and `scores.json`."""
    if stage.params["backbone"]["source"] != "build":
        _take(stage)
        return
    settings = EmbeddedBackbone.model_validate_json(json.dumps(stage.params["backbone"]))
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    prepare_torch(stage.params["threads"], settings.seed)
    data = stage.inputs["data"]
    tokenizer = build_tokenizer(vocabulary(), answer.slots)
    vlm = LlavaModel(build_vlm(settings.vlm, tokenizer), build_processor(settings.vlm, tokenizer), answer.slots)
    sam = SamSegmenter(build_sam(settings.sam))
    rows = _train(stage, settings, vlm, sam, data)
    vlm.eval()
    sam.eval()
    save_embedded(stage.folder, vlm.model, vlm.processor, sam.model)
    _write_curves(stage.folder / "curves.csv", rows)
    scores = _scores(vlm, sam, data, settings, answer)
    (stage.folder / "scores.json").write_text(json.dumps(scores, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    stage.rows["steps"] = len(rows)
    stage.facts |= {"seed": settings.seed, "device": "cpu", "scores": scores}


def _take(stage: Stage) -> None:
    """Takes the folders that the study names, by hard links where the file system allows it."""
    for part, given in stage.params["files"].items():
        folder = Path(given["folder"])
        if folder_digest(folder) != given["digest"]:
            raise InputError(folder, "", "has changed since the study was read; start the pipeline again")
        shutil.copytree(folder, stage.folder / part, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _train(stage: Stage, settings: EmbeddedBackbone, vlm: LlavaModel, sam: SamSegmenter, data: Path) -> list[dict[str, Any]]:
    recipe, resume, every, seed = settings.training, stage.resume_folder(), settings.checkpoint_every, settings.seed
    scenes = read_scenes(data, "train")
    pixels = scene_pixels(vlm, data, scenes)
    rows = train_vision(vlm, pixels, scenes, recipe.vision, seed, resume, every)
    rows += train_language(vlm, pixels, scenes, data, recipe.language, recipe.segments_per_image, recipe.caption_share, seed, resume, every)
    inputs = sam.inputs([read_image(data / "root" / scene.image) for scene in scenes])
    rows += train_encoder(sam, inputs, scenes, recipe.encoder, seed, resume, every)
    return rows + train_decoder(sam, inputs, scenes, recipe.decoder, seed, resume, every)


@torch.no_grad()
def _scores(vlm: LlavaModel, sam: SamSegmenter, data: Path, settings: EmbeddedBackbone, answer: AnswerSettings) -> dict[str, float]:
    """Held-out: share of gold thoughts that greedy decoding gives word for word, of valid answers, and mask IoU from a noisy prompt."""
    rows = [json.loads(line) for line in (data / "supervision" / "val.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = rows[:: max(1, len(rows) // SCORED)][:SCORED]
    prompts = vlm.prompts([read_image(data / "root" / row["image"]) for row in rows], [row["text"] for row in rows])
    rollouts = vlm.generate(prompts, 1, None, answer.longest, None)
    answers = [ids[mask].tolist() for ids, mask in zip(rollouts.answers, rollouts.answer_mask, strict=True)]
    wanted = [f"{answer_text(row['thought'], answer.slots)} </s>" for row in rows]
    scenes = read_scenes(data, "val")[:SCORED]
    inputs = sam.inputs([read_image(data / "root" / scene.image) for scene in scenes])
    target = object_targets(sam, scenes, np.random.default_rng([settings.seed, 5]))
    logits = sam.decode(sam.embed(inputs), noisy_prompt(target, torch.Generator().manual_seed(settings.seed))[:, None])[:, 0]
    predicted, truth = (logits > 0) & inputs.valid, target > 0.5
    iou = (predicted & truth).sum((1, 2)) / (predicted | truth).sum((1, 2)).clamp(min=1)
    return {
        "thought_exact": float(np.mean([vlm.text(torch.tensor(ids)) == text for ids, text in zip(answers, wanted, strict=True)])),
        "answer_valid": float(np.mean([status_of(ids, vlm.special) == "ok" for ids in answers])),
        "mask_iou": float(iou.mean()),
    }


def _write_curves(path: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("train_backbone", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
