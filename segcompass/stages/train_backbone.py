"""Trains the embedded LLaVA and SAM on the embedded world, phase by phase, and scores them on held-out scenes.

Vision tower on dense patch targets, projector on words, language model on captions, facts and gold thoughts, then on two ways of answering;
SAM's encoder on dense targets, all of SAM on mask prompts, then on both at once. A pretrained backbone is taken from the folders that the
study names, unchanged.
"""

import json
import os
import shutil
from pathlib import Path

from segcompass.backbone.build import build_processor, build_sam, build_tokenizer, build_vlm, save_embedded
from segcompass.backbone.llava import LlavaModel
from segcompass.backbone.runtime import prepare_torch
from segcompass.backbone.sam import SamSegmenter
from segcompass.backbone.training.habits import train_habits
from segcompass.backbone.training.language import train_language
from segcompass.backbone.training.scenes import TrainingScene, draw_training_scenes
from segcompass.backbone.training.scores import sam_scores, vlm_scores
from segcompass.backbone.training.segmenter import prepare_scenes, train_encoder, train_masks, train_together
from segcompass.backbone.training.vision import (
    draw_word_embeddings,
    patch_targets,
    scene_pixels,
    tower_features,
    train_projector,
    train_vision,
)
from segcompass.errors import InputError
from segcompass.optimisation.curve import write_curve
from segcompass.optimisation.phase import PhaseRecord
from segcompass.provenance.folder_digest import folder_digest
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, EmbeddedBackbone
from segcompass.study.data import WorldSettings
from segcompass.world.instructions import vocabulary

FLAGS = {"data": "artefact of prepare_data"}


def work(stage: Stage) -> None:
    """Fills `vlm/`, `sam/`, `curves.csv` and `scores.json`."""
    if stage.params["backbone"]["source"] != "build":
        _take(stage)
        return
    settings = EmbeddedBackbone.model_validate_json(json.dumps(stage.params["backbone"]))
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    world = WorldSettings.model_validate_json(json.dumps(stage.params["data"]))
    scenes = draw_training_scenes(world, settings.training.scenes, settings.seed)
    vlm, language_phases = train_vlm(settings, answer, scenes, stage.params["threads"], stage.resume_folder())
    sam, mask_phases = train_sam(settings, scenes, stage.params["threads"], stage.resume_folder())
    save_embedded(stage.folder, vlm.model, vlm.processor, sam.model)
    phases = language_phases + mask_phases
    write_curve([row for phase in phases for row in phase.rows], stage.folder / "curves.csv")
    data = stage.inputs["data"]
    scores = vlm_scores(vlm, data, answer.longest, settings.seed) | sam_scores(sam, data, settings.seed)
    (stage.folder / "scores.json").write_text(json.dumps(scores, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    stage.rows["steps"] = sum(len(phase.rows) for phase in phases)
    seconds = {phase.name: round(phase.seconds, 1) for phase in phases}
    stage.facts |= {"seed": settings.seed, "device": "cpu", "scores": scores, "phase_seconds": seconds}


def train_vlm(
    settings: EmbeddedBackbone, answer: AnswerSettings, scenes: list[TrainingScene], threads: int, resume: Path
) -> tuple[LlavaModel, list[PhaseRecord]]:
    """Builds and trains the vision-language model; its bytes depend on nothing that runs before or beside it."""
    prepare_torch(threads, settings.seed)
    recipe, every, seed = settings.training, settings.checkpoint_every, settings.seed
    tokenizer = build_tokenizer(vocabulary(), answer.slots)
    vlm = LlavaModel(build_vlm(settings.vlm, tokenizer), build_processor(settings.vlm, tokenizer), answer.slots)
    draw_word_embeddings(vlm)
    pixels, targets = scene_pixels(vlm, scenes), patch_targets(vlm, scenes)
    phases = [train_vision(vlm, pixels, targets, recipe.vision, seed, resume, every)]
    features = tower_features(vlm, pixels)
    phases.append(train_projector(vlm, features, targets, recipe.projector, seed, resume, every))
    segments, share = recipe.segments_per_image, recipe.caption_share
    phases.append(train_language(vlm, features, scenes, recipe.language, segments, share, seed, resume, every))
    phases.append(train_habits(vlm, features, scenes, recipe.habits, segments, seed, resume, every))
    return vlm.eval(), phases


def train_sam(
    settings: EmbeddedBackbone, scenes: list[TrainingScene], threads: int, resume: Path
) -> tuple[SamSegmenter, list[PhaseRecord]]:
    """Builds and trains SAM; its bytes depend on nothing that runs before or beside it."""
    prepare_torch(threads, settings.seed)
    recipe, every, seed = settings.training, settings.checkpoint_every, settings.seed
    sam = SamSegmenter(build_sam(settings.sam))
    prepared = prepare_scenes(sam, scenes[: recipe.sam_scenes])
    phases = [train_encoder(sam, prepared, recipe.encoder, seed, resume, every)]
    phases.append(train_masks(sam, prepared, recipe.masks, recipe.prompts_per_image, seed, resume, every))
    phases.append(train_together(sam, prepared, recipe.together, recipe.prompts_per_image, seed, resume, every))
    return sam.eval(), phases


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


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("train_backbone", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
