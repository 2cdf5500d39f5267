"""Trains one dictionary of the study, or draws the untrained control, and writes it in SAELens's format with held-out metrics."""

import json
from typing import Any

import torch
from accelerate import Accelerator
from pydantic import TypeAdapter

from segcompass.activations.cache import CacheReader
from segcompass.activations.source import TokenSource
from segcompass.activations.stream import TokenStream
from segcompass.backbone.runtime import prepare_torch
from segcompass.errors import InputError
from segcompass.optimisation.curve import write_curve
from segcompass.optimisation.processes import Processes
from segcompass.provenance.stage import Stage, run_stage
from segcompass.sae.batchtopk import BatchTopKDictionary
from segcompass.sae.checkpoint import load_dictionary, mean_l0, save_dictionary
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.dictionary import Dictionary as SparseDictionary
from segcompass.sae.held_decoder import cosines_to
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.metrics import held_out_metrics
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import train
from segcompass.sae.untrained import UntrainedDictionary
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.concepts import (
    ActivationSettings,
    BatchTopK,
    DenseMap,
    Dictionary,
    JumpRelu,
    ReluL1,
    SaeTrainingSettings,
    SoftFrozen,
    TopK,
)

FLAGS = {
    "activations": "optional: artefact of cache_activations; left out where the study trains on the fly",
    "data": "optional: artefact of prepare_data, to train on the fly",
    "backbone": "optional: artefact of train_backbone, to train on the fly",
    "like": "optional: the trained dictionary whose sparsity a random one copies",
}

MATCHED_TOKENS = 4096
"""Tokens on which a random dictionary gets its thresholds."""


def work(stage: Stage) -> None:
    """Fills `cfg.json`, `sae_weights.safetensors`, `curves.csv` and `metrics.json`."""
    settings = SaeTrainingSettings.model_validate_json(json.dumps(stage.params["training"]))
    processes = Processes(Accelerator(cpu=True))
    source = _source(stage, settings)
    wanted = stage.params["hook_layer"]
    if source.hook_layer != wanted:
        raise InputError(stage.inputs["activations"], "hook_layer", f"is {source.hook_layer}, not {wanted}; name the cache of that layer")
    prepare_torch(stage.params["threads"], settings.seed)
    if "like" in stage.inputs:
        dictionary: SparseDictionary = _untrained(stage, source, settings)
    else:
        dictionary = initial_dictionary(TypeAdapter(Dictionary).validate_json(json.dumps(stage.params["dictionary"])), source.width)
    dictionary.hook_layer = source.hook_layer
    rows: list[dict[str, Any]] = []
    if "like" not in stage.inputs:
        rows = train(dictionary, source, settings, stage.resume_folder(), processes)
    if not processes.main:
        return
    save_dictionary(dictionary, stage.folder)
    write_curve(rows, stage.folder / "curves.csv", without_rows=("step", "mse"))
    metrics = held_out_metrics(dictionary, source.held_out())
    if dictionary.decoder_start is not None:
        cosines = cosines_to(dictionary.W_dec, dictionary.decoder_start)
        metrics["decoder"] = {"least_cosine_to_start": float(cosines.min()), "mean_cosine_to_start": float(cosines.mean())}
    (stage.folder / "metrics.json").write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    stage.rows |= {"expressions": len(source.held_owner), "steps": len(rows)}
    stage.facts |= {"seed": settings.seed, "device": "cpu", "processes": processes.count, "held_out": metrics["all"]}


def _source(stage: Stage, settings: SaeTrainingSettings) -> TokenSource:
    """The tokens: those of the cache, or those that the backbone gives as it runs."""
    on_the_fly = stage.params["on_the_fly"]
    needed = ("data", "backbone") if on_the_fly else ("activations",)
    if missing := [flag for flag in needed if flag not in stage.inputs]:
        raise InputError(
            None, f"--{missing[0]}", f"is missing; activations.on_the_fly is {str(bool(on_the_fly)).lower()} in this job's keys"
        )
    if not on_the_fly:
        return CacheReader(stage.inputs["activations"], settings.held_out_fraction, settings.seed)
    # Imported where they are needed: the models of transformers take longer to import than a small dictionary takes to train.
    from segcompass.activations.forward_passes import ForwardPasses, RunningBackbone
    from segcompass.backbone.load import load_vlm

    activations = ActivationSettings.model_validate_json(json.dumps(on_the_fly["activations"]))
    answer = AnswerSettings.model_validate_json(json.dumps(on_the_fly["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(on_the_fly["runtime"]))
    prepare_torch(stage.params["threads"], 0)  # as cache_activations does: new rows of a vocabulary are drawn
    vlm = load_vlm(stage.inputs["backbone"] / "vlm", runtime, answer)
    passes = ForwardPasses(vlm, stage.inputs["data"], activations, answer.longest)
    return RunningBackbone(passes, settings.held_out_fraction, settings.seed)


def initial_dictionary(chosen: Dictionary, width: int) -> SparseDictionary:
    """A trainable dictionary over hidden states of a width, as the study describes it, drawn from torch's seed.

    Raises:
        InputError: the description is that of an untrained control.
    """
    dictionary = _drawn(chosen, width)
    if isinstance(chosen, ReluL1 | TopK | BatchTopK | JumpRelu):
        match chosen.decoder:
            case "frozen":
                dictionary.hold_decoder(1.0)
            case SoftFrozen(soft_frozen=least_cosine):
                dictionary.hold_decoder(least_cosine)
    return dictionary


def _drawn(chosen: Dictionary, width: int) -> SparseDictionary:
    match chosen:
        case ReluL1():
            revival = chosen.revival_coefficient, chosen.dead_after_tokens
            return ReluL1Dictionary(width, chosen.width, chosen.l1_coefficient, chosen.initial_density, *revival)
        case TopK():
            return TopKDictionary(width, chosen.width, chosen.k, chosen.auxiliary_coefficient, chosen.dead_after_tokens)
        case BatchTopK():
            return BatchTopKDictionary(width, chosen.width, chosen.k, chosen.auxiliary_coefficient, chosen.dead_after_tokens)
        case JumpRelu():
            revival = chosen.revival_coefficient, chosen.dead_after_tokens
            return JumpReluDictionary(width, chosen.width, chosen.l0_coefficient, chosen.bandwidth, chosen.initial_threshold, *revival)
        case DenseMap():
            return DenseDictionary(width, chosen.width)
    raise InputError(None, "--like", "is missing; a random dictionary copies the sparsity of a trained one")


def _untrained(stage: Stage, source: TokenSource, settings: SaeTrainingSettings) -> SparseDictionary:
    like = load_dictionary(stage.inputs["like"])
    x = TokenStream(source, settings.batch_tokens, settings.buffer_tokens, settings.seed).first()[:MATCHED_TOKENS]
    dictionary = UntrainedDictionary(like.input_width, like.features)
    with torch.no_grad():
        dictionary.match_sparsity(x, mean_l0(like, x))
    return dictionary


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("train_sae", __doc__ or "", FLAGS, work, argv, several_processes=True)


if __name__ == "__main__":
    raise SystemExit(main())
