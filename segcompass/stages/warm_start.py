"""Teaches the backbone's policy the form of answers that joint training rewards, and judges it on held-out prompts before and after.

The artefact has the parts of the backbone: `vlm`, written anew with the tokens of the form, and the SAMs as they were. The stage reads
train and val alone. A policy that does not keep the form afterwards is not published: every stage behind would read its answers for
nothing.
"""

import json

from accelerate import Accelerator

from segcompass.backbone.build import save_vlm
from segcompass.backbone.load import load_vlm
from segcompass.backbone.runtime import prepare_torch
from segcompass.backbone.split import SplitModel
from segcompass.datasets.artefact import LearningData
from segcompass.optimisation.curve import write_curve
from segcompass.optimisation.division import divide
from segcompass.optimisation.processes import Processes
from segcompass.provenance.linked_copy import linked_copy
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.warm_start import WarmStartSettings
from segcompass.warm_start.training import WarmStart, refuse_unlearnt, stored_weights

FLAGS = {"data": "artefact of prepare_data", "backbone": "artefact of train_backbone"}


def work(stage: Stage) -> None:
    """Fills `vlm/`, a folder for each SAM, `curves.csv` and `scores.json`."""
    keys = stage.params
    settings = WarmStartSettings.model_validate_json(json.dumps(keys["warm_start"]))
    answer = AnswerSettings.model_validate_json(json.dumps(keys["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(keys["runtime"]))
    processes = Processes(Accelerator(cpu=runtime.device == "cpu"), may_divide=True)
    prepare_torch(keys["threads"], settings.seed)
    vlm = _policy(stage, runtime, answer, processes)
    run = WarmStart(vlm, LearningData(stage.inputs["data"]), keys["benchmarks"], settings, answer, processes)
    record = run.run(stage.resume_folder())
    refuse_unlearnt(record.after, settings.least_valid)
    weights = stored_weights(vlm, processes)
    if not processes.main:
        return
    save_vlm(stage.folder / "vlm", vlm.model, vlm.processor, weights)
    for part in sorted(stage.inputs["backbone"].iterdir()):
        if part.is_dir() and part.name != "vlm":
            linked_copy(part, stage.folder / part.name)
    write_curve(record.curve, stage.folder / "curves.csv")
    scores = {"before": record.before, "after": record.after}
    (stage.folder / "scores.json").write_text(json.dumps(scores, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    gold = sum(sample.sample_id in run.gold for sample in run.samples)
    stage.rows |= {
        "steps": len(record.curve),
        "training_samples": len(run.samples),
        "with_gold_thought": gold,
        "held_out": len(run.held_out),
    }
    trained = sum(parameter.numel() for parameter in vlm.parameters() if parameter.requires_grad)
    stage.facts |= {"seed": settings.seed, "device": runtime.device, "processes": processes.count, "trained_parameters": trained}
    stage.facts |= {"valid_answers": scores, "statuses": record.statuses, "seconds_of_steps": round(record.seconds, 2)}
    stage.facts |= {"weights_divided": True} if processes.divided else {}


def _policy(stage: Stage, runtime: RuntimeSettings, answer: AnswerSettings, processes: Processes) -> SplitModel:
    """The policy, frozen up to the hook; where its weights are divided, one process after the other loads all of them."""
    with processes.whole_weights(runtime.device) as device:
        vlm = load_vlm(stage.inputs["backbone"] / "vlm", runtime.model_copy(update={"device": device}), answer)
        assert isinstance(vlm, SplitModel)
        vlm.freeze_up_to(int(stage.params["hook_layer"]))
        if processes.divided:
            divide(vlm.units(), processes)
            vlm.anywhere = processes.anywhere
            vlm.to(processes.device)
    return vlm


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("warm_start", __doc__ or "", FLAGS, work, argv, several_processes=True)


if __name__ == "__main__":
    raise SystemExit(main())
