"""Evaluates a run of the interface experiment on every split of the study, on the cached answers of the policy that it was trained on.

Nothing is generated and no image is embedded: what every variant reads was computed once. Runs that the study names are also given the
gold thoughts, likewise from the cache.
"""

import json
from collections.abc import Sequence

import torch

from segcompass.backbone.runtime import prepare_torch, usable_device
from segcompass.datasets.samples import Sample
from segcompass.joint.cached_answers import CachedAnswers
from segcompass.joint.cached_images import CachedImages
from segcompass.joint.checkpoint import load_interface
from segcompass.joint.evaluation import Evaluator, Teach
from segcompass.joint.inference import CachedThoughts, Prediction, Segmenting, Thoughts
from segcompass.joint.split_files import gather
from segcompass.provenance.shards import FLAG, HELP
from segcompass.provenance.stage import Stage, run_stage
from segcompass.sae.checkpoint import load_dictionary
from segcompass.study.analysis import EvaluationSettings
from segcompass.study.backbone import RuntimeSettings
from segcompass.study.shards import own_shard

FLAGS = {
    "data": "artefact of prepare_data",
    "backbone": "artefact of train_backbone",
    "sae": "artefact of train_sae, the dictionary that the run was trained with",
    "control-sae": "artefact of train_sae, the untrained dictionary",
    "answers": "artefact of cache_answers, those to the evaluated samples",
    "gold": "optional: artefact of cache_answers, gold thoughts of the evaluated samples",
    "images": "artefact of embed_images, those of the evaluated samples",
    "run": "artefact of train_interface",
    FLAG: HELP,
}


def work(stage: Stage) -> None:
    """Fills `<benchmark>/<split>/` with records, COCO files and the first heat maps."""
    settings = EvaluationSettings.model_validate_json(json.dumps(stage.params["evaluation"]))
    if FLAG in stage.collections:
        stage.rows |= gather(stage.collections[FLAG], stage.inputs["data"], settings.splits, stage.folder)
        return
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    device = usable_device(runtime.device)
    prepare_torch(stage.params["threads"], 0)
    model = load_interface(stage.inputs["run"], stage.inputs["backbone"], stage.inputs["sae"], runtime)
    images = CachedImages(stage.inputs["images"], model.settings.segmenter, device)
    segmenting = Segmenting(model, settings.confidence_threshold)

    def cached(flag: str) -> CachedThoughts:
        return CachedThoughts(CachedAnswers(stage.inputs[flag], model.dictionary.hook_layer, device), images, model)

    teach = _taught(segmenting, cached("gold")) if settings.oracle_thoughts else None
    control = load_dictionary(stage.inputs["control-sae"]).to(device) if settings.controls else None
    run = {"experiment": "interface", "variant": stage.wildcards["variant"], "seed": int(stage.wildcards["seed"])}
    evaluator = Evaluator(segmenting, cached("answers").of, teach, control, settings, stage.inputs["data"], run)
    for place, count, milliseconds in evaluator.splits(stage.folder, own_shard(stage.wildcards)):
        stage.rows[place] = count
        stage.facts[f"milliseconds per sample, {place}"] = round(milliseconds, 1)


def _taught(segmenting: Segmenting, gold: CachedThoughts) -> Teach:
    @torch.no_grad()
    def teach(benchmark: str, split: str, samples: Sequence[Sample], own: Thoughts, found: list[Prediction]) -> list[Prediction]:
        del own, found
        thoughts = gold.of(benchmark, split, samples)
        return segmenting.predictions(thoughts, segmenting.decide(thoughts))

    return teach


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("evaluate_interface", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
