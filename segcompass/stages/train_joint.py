"""Trains one variant with one seed: GRPO on the thoughts, segmentation losses on the masks, and writes checkpoint and curve.

No steps at all leave the model as it was drawn and the curve without a row.
"""

import csv
import json

import torch

from segcompass.backbone.runtime import prepare_torch
from segcompass.joint.batches import TrainingPrompts
from segcompass.joint.checkpoint import build_model, save_run
from segcompass.joint.trainer import JointTrainer
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.joint import JointSettings

FLAGS = {
    "data": "artefact of prepare_data",
    "backbone": "artefact of train_backbone",
    "sae": "artefact of train_sae, the variant's dictionary",
}


def work(stage: Stage) -> None:
    """Fills `model.safetensors`, `interface.json` and `curves.csv`."""
    settings = JointSettings.model_validate_json(json.dumps(stage.params["joint"]))
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    seed = int(stage.params["seed"])
    prepare_torch(stage.params["threads"], seed)
    model = build_model(stage.inputs["backbone"], stage.inputs["sae"], settings.interface, runtime, answer)
    prompts = TrainingPrompts(stage.inputs["data"], settings.benchmarks, model.segmenter, seed)
    trainer = JointTrainer(model, prompts, settings, answer, stage.params["confidence_threshold"], seed)
    rows = trainer.run(stage.resume_folder())
    save_run(model, settings.interface, stage.folder)
    with (stage.folder / "curves.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["step"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    stage.rows |= {"steps": len(rows), "training_samples": len(prompts.samples)}
    trained = {name: sum(parameter.numel() for parameter in parameters) for name, parameters in model.parts().items()}
    stage.facts |= {"seed": seed, "device": runtime.device, "trained_parameters": trained, "torch_threads": torch.get_num_threads()}


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("train_joint", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
