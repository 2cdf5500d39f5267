"""Trains the embedded LLaVA and its SAMs on the embedded world, phase by phase, and scores them on held-out scenes.

Vision tower on dense patch targets, projector on words, language model on captions, facts and gold thoughts, then on two ways of
answering; SAM's encoder on dense targets, all of SAM on mask prompts, then on both at once; smaller SAMs from what that one has learnt.
Parts that the study names, and a pretrained backbone, are taken from their folders, unchanged.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from segcompass.backbone.build import build_processor, build_sam, build_tokenizer, build_vlm, save_sam, save_vlm
from segcompass.backbone.llava import LlavaModel
from segcompass.backbone.runtime import prepare_torch
from segcompass.backbone.sam import SamSegmenter
from segcompass.backbone.training.habits import train_habits
from segcompass.backbone.training.language import train_language
from segcompass.backbone.training.scenes import TrainingScene, draw_training_scenes
from segcompass.backbone.training.scores import sam_scores, vlm_scores
from segcompass.backbone.training.segmenter import prepare_scenes, train_encoder, train_masks, train_together
from segcompass.backbone.training.smaller import load_largest, train_smaller
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
from segcompass.provenance.linked_copy import linked_copy
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, EmbeddedBackbone
from segcompass.study.data import WorldSettings
from segcompass.world.instructions import vocabulary

FLAGS = {"data": "artefact of prepare_data"}


def work(stage: Stage) -> None:
    """Fills a folder for each part; where parts are trained, also `curves.csv` and `scores.json`, of these parts alone."""
    _take(stage)
    if stage.params["backbone"]["source"] != "build":
        return
    settings = EmbeddedBackbone.model_validate_json(json.dumps(stage.params["backbone"]))
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    world = WorldSettings.model_validate_json(json.dumps(stage.params["data"]))
    threads, resume, data = stage.params["threads"], stage.resume_folder(), stage.inputs["data"]
    recipe, parts = settings.training, {}
    scenes = draw_training_scenes(world, recipe.scenes if "vlm" in settings.built else recipe.sam_scenes, settings.seed)
    if "vlm" in settings.built:
        vlm, phases = train_vlm(settings, answer, scenes, threads, resume)
        save_vlm(stage.folder / "vlm", vlm.model, vlm.processor)
        parts["vlm"] = BuiltPart(phases, vlm_scores(vlm, data, answer.longest, settings.seed))
    if any(part != "vlm" for part in settings.built):
        taken = {part: stage.folder / part for part in settings.taken}
        for name, (sam, phases) in train_sams(settings, scenes[: recipe.sam_scenes], taken, threads, resume).items():
            save_sam(stage.folder / name, sam.model)
            parts[name] = BuiltPart(phases, sam_scores(sam, data, settings.seed, name))
    _record(stage, parts)


@dataclass(frozen=True)
class BuiltPart:
    """What training a part leaves behind beside its folder."""

    phases: list[PhaseRecord]
    scores: dict[str, float]


def _record(stage: Stage, parts: dict[str, BuiltPart]) -> None:
    phases = [phase for part in parts.values() for phase in part.phases]
    write_curve([row for phase in phases for row in phase.rows], stage.folder / "curves.csv")
    scores = {name: value for part in parts.values() for name, value in part.scores.items()}
    (stage.folder / "scores.json").write_text(json.dumps(scores, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    stage.rows["steps"] = sum(len(phase.rows) for phase in phases)
    facts = {
        name: {"phase_seconds": {phase.name: round(phase.seconds, 1) for phase in part.phases}, "scores": part.scores}
        for name, part in parts.items()
    }
    stage.facts |= {"seed": stage.params["backbone"]["seed"], "device": "cpu", "parts": facts}


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


def train_sams(
    settings: EmbeddedBackbone, scenes: list[TrainingScene], taken: dict[str, Path], threads: int, resume: Path
) -> dict[str, tuple[SamSegmenter, list[PhaseRecord]]]:
    """Builds and trains the SAMs that are not taken, by name; their bytes depend on nothing that runs before or beside it.

    Args:
        settings: sizes and recipe.
        scenes: what they are trained on.
        taken: part -> folder, of the parts that are not trained; smaller SAMs begin from `sam`, trained or taken.
        threads: of torch.
        resume: folder of the resume points.

    Raises:
        InputError: the taken `sam` has other sizes than the recipe.
    """
    prepare_torch(threads, settings.seed)
    recipe, every, seed = settings.training, settings.checkpoint_every, settings.seed
    largest = load_largest(taken["sam"], settings.sam) if "sam" in taken else SamSegmenter(build_sam(settings.sam))
    prepared = prepare_scenes(largest, scenes)
    found = {}
    if "sam" not in taken:
        phases = [train_encoder(largest, prepared, recipe.encoder, seed, resume, every)]
        phases.append(train_masks(largest, prepared, recipe.masks, recipe.prompts_per_image, seed, resume, every))
        phases.append(train_together(largest, prepared, recipe.together, recipe.prompts_per_image, seed, resume, every))
        found["sam"] = largest.eval(), phases
    for name in settings.smaller_sams:
        if name not in taken:
            found[name] = train_smaller(name, settings, largest, prepared, threads, resume)
    return found


def _take(stage: Stage) -> None:
    """Takes the folders that the study names, by hard links where the file system allows it."""
    for part, given in stage.params["files"].items():
        folder = Path(given["folder"])
        if folder_digest(folder) != given["digest"]:
            raise InputError(folder, "", "has changed since the study was read; start the pipeline again")
        linked_copy(folder, stage.folder / part)


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("train_backbone", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
