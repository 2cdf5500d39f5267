"""Caches the base policy's greedy answers to training prompts, with all that the concept interface reads of them.

Every variant and seed of joint training begins with this policy, so its answers are computed once per study.
"""

import json

import torch
from tqdm import tqdm

from segcompass.backbone.load import load_segmenter, load_vlm
from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.artefact import LearningData
from segcompass.joint.batches import TrainingPrompts
from segcompass.joint.cached_answers import AnswersWriter, CachedAnswer
from segcompass.joint.rollouts import answer
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, RuntimeSettings

FLAGS = {"data": "artefact of prepare_data", "backbone": "artefact of train_backbone"}


def work(stage: Stage) -> None:
    """Fills the shards, `owners.jsonl` (the answers' samples, in their order) and `index.json`."""
    settings = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    chosen, activations = stage.params["warm_up"], stage.params["activations"]
    prepare_torch(stage.params["threads"], 0)
    vlm = load_vlm(stage.inputs["backbone"] / "vlm", runtime, settings)
    vlm.freeze_up_to(activations["hook_layer"])
    segmenter = load_segmenter(stage.inputs["backbone"] / "sam", runtime)
    data = LearningData(stage.inputs["data"])
    prompts = TrainingPrompts(data, stage.params["benchmarks"], segmenter, chosen["seed"])
    samples = prompts.first(min(chosen["prompts"], len(prompts.samples)))
    writer = AnswersWriter(stage.folder, getattr(torch, activations["dtype"]))
    size = chosen["answer_batch"]
    for start in tqdm(range(0, len(samples), size), desc="answering", disable=None):
        part = samples[start : start + size]
        images = [data.image(sample) for sample in part]
        with torch.no_grad():
            answers = answer(vlm, vlm.prompts(images, [sample.text for sample in part]), 1, None, settings.longest, None)
            states = answers.formed
            references = vlm.reference_states(vlm.upper(states), states)
        for index, sample in enumerate(part):
            if not writer.knows(sample.image):
                inputs = segmenter.inputs([images[index]])
                writer.add_image(sample.image, segmenter.embed(inputs)[0], inputs.valid[0])
            seen = states.mask[index]
            own = states.hidden[index][seen], states.token_types[index][seen], references[index], prompts.targets(sample)
            writer.add(sample.image, CachedAnswer(*(tensor.cpu() for tensor in own)))
    answered, embedded = writer.close(activations)
    owners = "".join(json.dumps({"sample_id": sample.sample_id, "image": sample.image}) + "\n" for sample in samples)
    (stage.folder / "owners.jsonl").write_text(owners, encoding="utf-8")
    stage.rows |= {"answers": answered, "images": embedded}
    stage.facts["device"] = runtime.device


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("cache_answers", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
