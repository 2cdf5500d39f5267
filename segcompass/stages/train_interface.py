"""Trains one variant of the interface with one seed on cached answers of the base policy; writes checkpoint and curve.

The interface experiment's run, and the interface that joint training with the same keys and seed begins with. No steps at all leave the
interface as it was drawn, the lower bound `untrained`.
"""

import json

import torch

from segcompass.backbone.runtime import prepare_torch, usable_device
from segcompass.joint.cached_answers import CachedAnswers
from segcompass.joint.cached_images import CachedImages
from segcompass.joint.checkpoint import build_interface, save_run
from segcompass.joint.training import InterfaceTraining, fit_statistics
from segcompass.optimisation.curve import write_curve
from segcompass.provenance.stage import Stage, run_stage
from segcompass.sae.checkpoint import load_dictionary
from segcompass.study.backbone import RuntimeSettings
from segcompass.study.interface import InterfaceSettings

FLAGS = {
    "backbone": "artefact of train_backbone",
    "sae": "artefact of train_sae, the variant's dictionary",
    "answers": "artefact of cache_answers, those to training prompts",
    "images": "artefact of embed_images, those of training prompts",
}


def work(stage: Stage) -> None:
    """Fills `model.safetensors`, `interface.json` and `curves.csv`."""
    settings = InterfaceSettings.model_validate_json(json.dumps(stage.params["interface"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    seed, device = int(stage.params["seed"]), usable_device(runtime.device)
    dictionary = load_dictionary(stage.inputs["sae"])
    answers = CachedAnswers(stage.inputs["answers"], dictionary.hook_layer, device)
    images = CachedImages(stage.inputs["images"], settings.model.segmenter, device)
    prepare_torch(stage.params["threads"], seed)
    model = build_interface(stage.inputs["backbone"], dictionary, settings.model, runtime, answers.policy)
    fit_statistics(model.interface, answers, images)
    records = InterfaceTraining(model, answers, images, settings, seed).run(stage.resume_folder())
    save_run(model, stage.folder)
    write_curve([row for record in records for row in record.rows], stage.folder / "curves.csv")
    trained = {name: sum(parameter.numel() for parameter in parameters) for name, parameters in model.parts().items()}
    stage.rows |= {record.name: len(record.rows) for record in records} | {"training_samples": len(answers)}
    stage.facts |= {"seed": seed, "device": runtime.device, "torch_threads": torch.get_num_threads(), "trained_parameters": trained}
    stage.facts["seconds_per_phase"] = {record.name: round(record.seconds, 2) for record in records}


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("train_interface", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
