"""Embeds images with one SAM, once per study: those of the training prompts that are answered, with their objects, those evaluated, or
those of counterfactual pairs."""

import json

import torch
from tqdm import tqdm

from segcompass.backbone.load import load_segmenter
from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.artefact import LearningData, evaluated_samples, sample_image
from segcompass.datasets.pairs import paired_samples
from segcompass.datasets.samples import Sample
from segcompass.joint.batches import low_resolution_targets, training_prompts
from segcompass.joint.cached_images import ImagesWriter
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import RuntimeSettings

FLAGS = {"data": "artefact of prepare_data", "backbone": "artefact of train_backbone"}


def work(stage: Stage) -> None:
    """Fills the shards and `index.json`."""
    keys = stage.params
    runtime = RuntimeSettings.model_validate_json(json.dumps(keys["runtime"]))
    prepare_torch(keys["threads"], 0)
    segmenter = load_segmenter(stage.inputs["backbone"] / keys["segmenter"], runtime)
    writer = ImagesWriter(stage.folder, getattr(torch, keys["dtype"]))
    seen: set[str] = set()
    for sample in tqdm(_samples(stage), desc="embedding", disable=None):
        if sample.image not in seen:
            seen.add(sample.image)
            inputs = segmenter.inputs([sample_image(stage.inputs["data"], sample)])
            writer.add_image(sample.image, segmenter.embed(inputs)[0], inputs.valid[0])
        if keys["part"] == "training":
            writer.add_targets(sample.sample_id, low_resolution_targets(segmenter, sample))
    stage.rows |= writer.close({"segmenter": keys["segmenter"]})
    stage.facts["device"] = runtime.device


def _samples(stage: Stage) -> list[Sample]:
    if stage.params["part"] == "evaluation":
        return [sample for _, _, sample in evaluated_samples(stage.inputs["data"], stage.params["splits"])]
    if stage.params["part"] == "pairs":
        return [sample for _, _, sample in paired_samples(stage.inputs["data"], stage.params["pairs"])]
    chosen = stage.params["answers"]
    data = LearningData(stage.inputs["data"])
    return [sample for _, sample in training_prompts(data, chosen["benchmarks"], chosen["seed"]).first(chosen["prompts"])]


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("embed_images", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
