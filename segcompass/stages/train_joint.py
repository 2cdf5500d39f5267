"""Trains one variant with one seed: the concept interface warms up on cached answers, then GRPO on the thoughts and segmentation losses on
the masks that they lead to; writes checkpoint and curves.

Of the data it sees the splits that `LearningData` lets through, train and val. No steps at all leave the model as it was drawn and
`curves.csv` without a row.
"""

import json
from pathlib import Path

import torch
from accelerate import Accelerator

from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.artefact import LearningData
from segcompass.errors import InputError
from segcompass.joint.batches import TrainingPrompts
from segcompass.joint.cached_answers import CachedAnswers
from segcompass.joint.checkpoint import build_model, save_run
from segcompass.joint.inference import Predictor
from segcompass.joint.interface import ConceptInterface
from segcompass.joint.model import JointModel
from segcompass.joint.trainer import JointTrainer
from segcompass.joint.validation import Validation
from segcompass.joint.warm_up import WarmUp, fit_statistics
from segcompass.optimisation.curve import write_curve
from segcompass.optimisation.phase import PhaseRecord
from segcompass.optimisation.processes import Processes
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.joint import JointSettings

FLAGS = {
    "data": "artefact of prepare_data",
    "backbone": "artefact of train_backbone",
    "sae": "artefact of train_sae, the variant's dictionary",
    "answers": "artefact of cache_answers",
}


def work(stage: Stage) -> None:
    """Fills `model.safetensors`, `interface.json`, `warm_up.csv`, `curves.csv` and `validation.csv`."""
    settings = JointSettings.model_validate_json(json.dumps(stage.params["joint"]))
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    seed = int(stage.params["seed"])
    threshold = stage.params["confidence_threshold"]
    processes = Processes(Accelerator(cpu=runtime.device == "cpu"))
    prepare_torch(stage.params["threads"], seed)
    model = build_model(stage.inputs["backbone"], stage.inputs["sae"], settings.interface, runtime, answer)
    answers = CachedAnswers(stage.inputs["answers"], model.segmenter.device)
    if answers.hook_layer != model.dictionary.hook_layer:
        problem = f"is {answers.hook_layer}, and the dictionary's {model.dictionary.hook_layer}; name the answers of that layer"
        raise InputError(stage.inputs["answers"], "hook_layer", problem)
    warmed = _warm_up(model, answers, settings, seed, stage.resume_folder() / f"process{processes.rank}")
    data = LearningData(stage.inputs["data"])
    prompts = TrainingPrompts(data, settings.benchmarks, model.segmenter, seed, processes, answers)
    predictor = Predictor(model, answer.longest, threshold)
    # A pass on val is as large as a step of training, so it needs no more memory.
    batch = settings.prompts * settings.policy.group
    validation = Validation(data, settings.benchmarks, settings.validation, predictor, batch, processes)
    trainer = JointTrainer(model, prompts, settings, answer, threshold, seed, processes)
    record = trainer.run(stage.resume_folder(), validation)
    if not processes.main:
        return
    save_run(model, settings.interface, stage.folder)
    write_curve(warmed.rows, stage.folder / "warm_up.csv")
    write_curve(record.curve, stage.folder / "curves.csv")
    write_curve(record.validation, stage.folder / "validation.csv")
    stage.rows |= {"steps": len(record.curve), "training_samples": len(prompts.samples)}
    trained = {name: sum(parameter.numel() for parameter in parameters) for name, parameters in model.parts().items()}
    stage.facts |= {"seed": seed, "device": runtime.device, "processes": processes.count, "torch_threads": torch.get_num_threads()}
    stage.facts |= {"trained_parameters": trained, "kept_step": record.kept_step}
    seconds = {"warm_up": warmed.seconds} | record.seconds
    stage.facts["seconds_per_phase"] = {phase: round(value, 2) for phase, value in seconds.items()}


def _warm_up(model: JointModel, answers: CachedAnswers, settings: JointSettings, seed: int, resume: Path) -> PhaseRecord:
    """The interface's warm-up, the same in every process; none for a variant without interface or segmentation losses, or without steps."""
    if not isinstance(model.interface, ConceptInterface):
        return PhaseRecord("warm_up", [], 0.0)
    fit_statistics(model.interface, answers)
    if not settings.steps or not settings.segmentation.weight:
        return PhaseRecord("warm_up", [], 0.0)
    resume.mkdir(exist_ok=True)
    return WarmUp(model, answers, settings, seed).run(resume)


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("train_joint", __doc__ or "", FLAGS, work, argv, several_processes=True)


if __name__ == "__main__":
    raise SystemExit(main())
