"""Caches hidden states at the hook: image tokens once an image, instruction and thought tokens of every training expression.

Thoughts are the model's own, greedy ones, as in the paper's joint training the codes of thoughts are those of sampled text.
"""

import json
from typing import Any

from tqdm import tqdm

from segcompass.activations.cache import CacheWriter
from segcompass.backbone.interface import INSTRUCTION, THOUGHT, VISUAL, VisionLanguageModel
from segcompass.backbone.load import load_vlm
from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.files import read_image
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.concepts import ActivationSettings

FLAGS = {"data": "artefact of prepare_data", "backbone": "artefact of train_backbone"}


def work(stage: Stage) -> None:
    """Fills the shards and `index.json`."""
    settings = ActivationSettings.model_validate_json(json.dumps(stage.params["activations"]))
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    prepare_torch(stage.params["threads"], 0)
    vlm = load_vlm(stage.inputs["backbone"] / "vlm", runtime, answer)
    vlm.freeze_up_to(settings.hook_layer)
    rows = _expressions(stage, settings.scenes)
    writer = CacheWriter(stage.folder, settings.hook_layer, vlm.hidden_width, settings.dtype, settings.shard_tokens)
    seen: set[str] = set()
    for start in tqdm(range(0, len(rows), settings.batch), desc="caching", disable=None):
        _cache(vlm, writer, rows[start : start + settings.batch], stage, answer, seen)
    stage.rows |= {"tokens": writer.close(), "expressions": len(rows), "images": len(seen)}
    stage.facts["device"] = runtime.device


def _expressions(stage: Stage, scenes: int) -> list[dict[str, Any]]:
    """Training expressions of the first `scenes` images, in the order of the file."""
    lines = (stage.inputs["data"] / "supervision" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    kept = set(sorted({row["image"] for row in rows})[:scenes])
    return sorted((row for row in rows if row["image"] in kept), key=lambda row: (row["image"], row["sample_id"]))


def _cache(
    vlm: VisionLanguageModel, writer: CacheWriter, rows: list[dict[str, Any]], stage: Stage, answer: AnswerSettings, seen: set[str]
) -> None:
    prompts = vlm.prompts([read_image(stage.inputs["data"] / "root" / row["image"]) for row in rows], [row["text"] for row in rows])
    rollouts = vlm.generate(prompts, 1, None, answer.longest, None)
    states = vlm.lower(prompts, rollouts.answers, rollouts.answer_mask)
    for index, row in enumerate(rows):
        types = states.token_types[index]
        wanted = (types == INSTRUCTION) | (types == THOUGHT)
        if row["image"] not in seen:
            # The image precedes the instruction, so its states are the same for every expression of the image.
            wanted |= types == VISUAL
            seen.add(row["image"])
        positions = states.positions[index][wanted]
        writer.add(row["sample_id"], row["image"], states.hidden[index][wanted], positions, types[wanted])


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("cache_activations", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
