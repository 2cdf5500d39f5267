"""Trains the policy of one variant with one seed, and the interface with it: GRPO on the thoughts and segmentation losses on the masks that
they lead to, from an interface that was trained on the base policy's answers; writes checkpoint and curves.

Of the data it sees the splits that `LearningData` lets through, train and val.
"""

import json

import torch
from accelerate import Accelerator

from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.artefact import LearningData
from segcompass.joint.batches import TrainingPrompts, training_prompts
from segcompass.joint.cached_images import CachedImages
from segcompass.joint.checkpoint import build_joint, run_settings, save_run, start_from
from segcompass.joint.inference import Predictor
from segcompass.joint.trainer import JointTrainer
from segcompass.joint.validation import Validation
from segcompass.optimisation.curve import write_curve
from segcompass.optimisation.division import gathered
from segcompass.optimisation.processes import Processes
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.joint import JointSettings

FLAGS = {
    "data": "artefact of prepare_data",
    "backbone": "artefact of train_backbone",
    "sae": "artefact of train_sae, the variant's dictionary",
    "images": "artefact of embed_images, those of training prompts",
    "interface": "artefact of train_interface, the run that the variant starts from",
}


def work(stage: Stage) -> None:
    """Fills `model.safetensors`, `interface.json`, `curves.csv` and `validation.csv`."""
    settings = JointSettings.model_validate_json(json.dumps(stage.params["joint"]))
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    seed, benchmarks = int(stage.params["seed"]), stage.params["benchmarks"]
    threshold = stage.params["confidence_threshold"]
    processes = Processes(Accelerator(cpu=runtime.device == "cpu"), may_divide=True)
    prepare_torch(stage.params["threads"], seed)
    start = stage.inputs["interface"]
    with processes.whole_weights(runtime.device) as device:
        built = runtime.model_copy(update={"device": device})
        model = build_joint(stage.inputs["backbone"], stage.inputs["sae"], run_settings(start), built, answer)
        start_from(model, start, trained=settings.start == "trained")
        reference = model.divide(processes) if processes.divided else None
    data = LearningData(stage.inputs["data"])
    images = CachedImages(stage.inputs["images"], model.settings.segmenter, model.segmenter.device)
    order = training_prompts(data, benchmarks, seed)
    prompts = TrainingPrompts(data, order, settings.pool, model.segmenter, seed, processes, images)
    predictor = Predictor(model, answer.longest, threshold)
    # A pass on val is as large as a step of training, so it needs no more memory.
    batch = settings.prompts * settings.policy.group
    validation = Validation(data, benchmarks, settings.validation, predictor, batch, processes)
    trainer = JointTrainer(model, prompts, settings, answer, threshold, seed, processes, reference)
    record = trainer.run(stage.resume_folder(), validation)
    state = gathered(model.state(), processes) if processes.divided else None
    if not processes.main:
        return
    save_run(model, stage.folder, state)
    write_curve(record.curve, stage.folder / "curves.csv")
    write_curve(record.validation, stage.folder / "validation.csv")
    stage.rows |= {"steps": len(record.curve), "training_samples": len(prompts.samples)}
    trained = {name: sum(parameter.numel() for parameter in parameters) for name, parameters in model.parts().items()}
    stage.facts |= {"seed": seed, "device": runtime.device, "processes": processes.count, "torch_threads": torch.get_num_threads()}
    stage.facts |= {"trained_parameters": trained, "kept_step": record.kept_step}
    stage.facts |= {"weights_divided": True} if processes.divided else {}
    stage.facts["seconds_per_phase"] = {phase: round(value, 2) for phase, value in record.seconds.items()}


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("train_joint", __doc__ or "", FLAGS, work, argv, several_processes=True)


if __name__ == "__main__":
    raise SystemExit(main())
