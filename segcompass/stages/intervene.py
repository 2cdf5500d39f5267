"""Edits what a trained run reads, one sample at a time, and records what happens to its slots: curves, dose, composition, attribution
against truth, traceability and the sham, each with its controls.

The words stay as they are; only codes, words' embeddings or reference states change. The slots that are compared are fixed before the edit.
Nothing is estimated here: measurements of several runs are put together by who reads them.
"""

import json

from segcompass.backbone.runtime import prepare_torch, usable_device
from segcompass.causal.battery import Battery
from segcompass.causal.measurements import write_measurements
from segcompass.joint.cached_answers import CachedAnswers
from segcompass.joint.cached_images import CachedImages
from segcompass.joint.checkpoint import load_interface
from segcompass.joint.inference import CachedThoughts
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.analysis import InterventionSettings
from segcompass.study.backbone import RuntimeSettings

FLAGS = {
    "data": "artefact of prepare_data",
    "backbone": "artefact of train_backbone",
    "sae": "artefact of train_sae, the dictionary that the run was trained with",
    "answers": "artefact of cache_answers, those to the evaluated samples",
    "images": "artefact of embed_images, those of the evaluated samples",
    "run": "artefact of train_interface",
}


def work(stage: Stage) -> None:
    """Fills `measurements.csv` and `balance.csv`."""
    settings = InterventionSettings.model_validate_json(json.dumps(stage.params["intervention"] | {"variants": []}))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    prepare_torch(stage.params["threads"], settings.seed)
    device = usable_device(runtime.device)
    model = load_interface(stage.inputs["run"], stage.inputs["backbone"], stage.inputs["sae"], runtime)
    answers = CachedAnswers(stage.inputs["answers"], model.dictionary.hook_layer, device)
    thoughts = CachedThoughts(answers, CachedImages(stage.inputs["images"], model.settings.segmenter, device), model, sparse=True)
    battery = Battery(thoughts, settings, stage.params["confidence_threshold"], stage.params["batch"], stage.inputs["data"])
    rows = [row for benchmark in settings.splits for row in battery.measurements(benchmark)]
    stage.rows["measurements"] = write_measurements(rows, battery.balances(), stage.folder)
    stage.facts |= {"seed": settings.seed, "device": runtime.device}


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("intervene", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
