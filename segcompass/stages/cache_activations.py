"""Caches hidden states at the hook: image tokens once an image, instruction and thought tokens of every training expression.

Thoughts are the model's own, greedy ones, as in the paper's joint training the codes of thoughts are those of sampled text.
"""

import json

from tqdm import tqdm

from segcompass.activations.cache import CacheWriter
from segcompass.backbone.interface import INSTRUCTION, THOUGHT, VISUAL, VisionLanguageModel
from segcompass.backbone.load import load_vlm
from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.artefact import data_root, training_samples
from segcompass.datasets.files import read_image
from segcompass.datasets.samples import Sample
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


def _expressions(stage: Stage, scenes: int) -> list[Sample]:
    """Training expressions of the first `scenes` images, sorted by image."""
    samples = training_samples(stage.inputs["data"])
    kept = set(sorted({sample.image for sample in samples})[:scenes])
    return sorted((sample for sample in samples if sample.image in kept), key=lambda sample: (sample.image, sample.sample_id))


def _cache(
    vlm: VisionLanguageModel, writer: CacheWriter, samples: list[Sample], stage: Stage, answer: AnswerSettings, seen: set[str]
) -> None:
    root = data_root(stage.inputs["data"])
    prompts = vlm.prompts([read_image(root / sample.image) for sample in samples], [sample.text for sample in samples])
    rollouts = vlm.generate(prompts, 1, None, answer.longest, None)
    states = vlm.lower(prompts, rollouts.answers, rollouts.answer_mask)
    for index, sample in enumerate(samples):
        types = states.token_types[index]
        wanted = (types == INSTRUCTION) | (types == THOUGHT)
        if sample.image not in seen:
            # The image precedes the instruction, so its states are the same for every expression of the image.
            wanted |= types == VISUAL
            seen.add(sample.image)
        positions = states.order[index][wanted]
        writer.add(sample.sample_id, sample.image, states.hidden[index][wanted], positions, types[wanted])


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("cache_activations", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
