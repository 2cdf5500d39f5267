"""Evaluates a run of joint training on every split of the study: greedy answers of its own policy, slots by confidence.

One job evaluates all splits of a run, because loading the models costs more than most splits do. Runs that the study names are also given
the gold thought in place of their own.
"""

import json
from collections.abc import Sequence

import torch

from segcompass.backbone.interface import Image
from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.artefact import gold_thoughts, sample_image
from segcompass.datasets.samples import Sample
from segcompass.joint.checkpoint import load_joint
from segcompass.joint.evaluation import Evaluator
from segcompass.joint.inference import Prediction, Predictor, Thoughts
from segcompass.joint.split_files import gather
from segcompass.provenance.shards import FLAG, HELP
from segcompass.provenance.stage import Stage, run_stage
from segcompass.sae.checkpoint import load_dictionary
from segcompass.study.analysis import EvaluationSettings
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.shards import own_shard

FLAGS = {
    "data": "artefact of prepare_data",
    "backbone": "artefact of train_backbone",
    "sae": "artefact of train_sae, the dictionary that the run was trained with",
    "control-sae": "artefact of train_sae, the untrained dictionary",
    "run": "artefact of train_joint",
    FLAG: HELP,
}


def work(stage: Stage) -> None:
    """Fills `<benchmark>/<split>/` with records, COCO files and the first heat maps."""
    settings = EvaluationSettings.model_validate_json(json.dumps(stage.params["evaluation"]))
    if FLAG in stage.collections:
        stage.rows |= gather(stage.collections[FLAG], stage.inputs["data"], settings.splits, stage.folder)
        return
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    prepare_torch(stage.params["threads"], 0)
    data = stage.inputs["data"]
    model = load_joint(stage.inputs["run"], stage.inputs["backbone"], stage.inputs["sae"], runtime, answer)
    predictor = Predictor(model, answer.longest, settings.confidence_threshold)

    def images(samples: Sequence[Sample]) -> list[Image]:
        return [sample_image(data, sample) for sample in samples]

    def think(benchmark: str, split: str, samples: Sequence[Sample]) -> Thoughts:
        del benchmark, split
        return predictor.think(images(samples), [sample.text for sample in samples])

    @torch.no_grad()
    def teach(benchmark: str, split: str, samples: Sequence[Sample], own: Thoughts, found: list[Prediction]) -> list[Prediction]:
        """An answer that is gold word for word has led to its own prediction already."""
        del benchmark
        gold = gold_thoughts(data, split)
        words = [gold[sample.sample_id] for sample in samples]
        wrong = [i for i, (text, thought) in enumerate(zip(own.texts, words, strict=True)) if text != predictor.written(thought)]
        if not wrong:
            return found
        part = [samples[i] for i in wrong]
        given = predictor.read(images(part), [sample.text for sample in part], [words[i] for i in wrong])
        taught = dict(zip(wrong, predictor.predictions(given, predictor.decide(given)), strict=True))
        return [taught.get(i, prediction) for i, prediction in enumerate(found)]

    control = load_dictionary(stage.inputs["control-sae"]).to(runtime.device) if settings.controls else None
    run = {"experiment": "signals", "variant": stage.wildcards["variant"], "seed": int(stage.wildcards["seed"])}
    evaluator = Evaluator(predictor, think, teach if settings.oracle_thoughts else None, control, settings, data, run)
    for place, count, milliseconds in evaluator.splits(stage.folder, own_shard(stage.wildcards)):
        stage.rows[place] = count
        stage.facts[f"milliseconds per sample, {place}"] = round(milliseconds, 1)


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("evaluate_joint", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
