"""Makes one dictionary of the study, trained or a control that is not, and writes it in SAELens's format with held-out metrics."""

import json
from typing import Any

import torch
from accelerate import Accelerator
from pydantic import TypeAdapter

from segcompass.activations.cache import CacheReader
from segcompass.activations.source import TokenSource
from segcompass.activations.typed_sample import sample_by_type
from segcompass.backbone.runtime import prepare_torch, usable_device
from segcompass.errors import InputError
from segcompass.optimisation.curve import write_curve
from segcompass.optimisation.processes import Processes
from segcompass.provenance.stage import Stage, run_stage
from segcompass.sae.batchtopk import BatchTopKDictionary
from segcompass.sae.checkpoint import load_dictionary, save_dictionary
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.dictionary import Dictionary as SparseDictionary
from segcompass.sae.held_decoder import cosines_to
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.metrics import held_out_metrics, l0_by_type
from segcompass.sae.neurons import NeuronDictionary
from segcompass.sae.pca import PcaDictionary
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import train
from segcompass.sae.untrained import untrained_twin
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.concepts import (
    ActivationSettings,
    BatchTopK,
    DenseMap,
    Dictionary,
    JumpRelu,
    Neurons,
    Pca,
    RandomDictionary,
    ReluL1,
    SaeTrainingSettings,
    SoftFrozen,
    TopK,
    Trained,
)

FLAGS = {
    "activations": "optional: artefact of cache_activations; left out where the study trains on the fly",
    "data": "optional: artefact of prepare_data, to train on the fly",
    "backbone": "optional: artefact of train_backbone, to train on the fly",
    "like": "optional: the trained dictionary whose sparsity a control copies",
}

MATCHED_TOKENS = 16384
"""Tokens of each type on which a control that copies a sparsity is measured."""


def work(stage: Stage) -> None:
    """Fills `cfg.json`, `sae_weights.safetensors`, `curves.csv` and `metrics.json`."""
    settings = SaeTrainingSettings.model_validate_json(json.dumps(stage.params["training"]))
    device = usable_device(stage.params["runtime"]["device"])
    processes = Processes(Accelerator(cpu=device.type == "cpu"))
    source = _source(stage, settings)
    wanted = stage.params["hook_layer"]
    if source.hook_layer != wanted:
        raise InputError(stage.inputs["activations"], "hook_layer", f"is {source.hook_layer}, not {wanted}; name the cache of that layer")
    chosen: Dictionary = TypeAdapter(Dictionary).validate_json(json.dumps(stage.params["dictionary"]))
    stop_after = None
    if isinstance(chosen, Trained):
        stop_after, settings = chosen.stop_after, settings.model_copy(update={} if chosen.seed is None else {"seed": chosen.seed})
    prepare_torch(stage.params["threads"], settings.seed)
    rows: list[dict[str, Any]] = []
    match chosen:
        case RandomDictionary():
            dictionary = untrained_dictionary(_twin(stage).to(device), source)
        case Neurons():
            dictionary = hidden_units(_twin(stage).to(device), source)
        case Pca():
            dictionary = principal_components(chosen.width, source, device)
        case _:
            dictionary = initial_dictionary(chosen, source.width, device)
            rows = train(dictionary, source, settings, stage.resume_folder(), processes, stop_after)
    dictionary.hook_layer = source.hook_layer
    if not processes.main:
        return
    save_dictionary(dictionary, stage.folder)
    write_curve(rows, stage.folder / "curves.csv", without_rows=("step", "mse"))
    metrics = _held_out(stage, dictionary, source)
    (stage.folder / "metrics.json").write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    stage.rows |= {"expressions": len(source.held_owner), "steps": len(rows)}
    stage.facts |= {"seed": settings.seed, "device": device.type, "processes": processes.count, "held_out": metrics["all"]}


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


def initial_dictionary(chosen: Trained | DenseMap, width: int, device: torch.device) -> SparseDictionary:
    """A trainable dictionary over hidden states of a width, as the study describes it, drawn on the CPU from torch's seed."""
    match chosen:
        case DenseMap():
            return DenseDictionary(width, chosen.width).to(device)
        case ReluL1():
            revival = chosen.revival_coefficient, chosen.dead_after_tokens
            dictionary: SparseDictionary = ReluL1Dictionary(width, chosen.width, chosen.l1_coefficient, chosen.initial_density, *revival)
        case TopK():
            dictionary = TopKDictionary(width, chosen.width, chosen.k, chosen.auxiliary_coefficient, chosen.dead_after_tokens)
        case BatchTopK():
            dictionary = BatchTopKDictionary(width, chosen.width, chosen.k, chosen.auxiliary_coefficient, chosen.dead_after_tokens)
        case JumpRelu():
            revival = chosen.revival_coefficient, chosen.dead_after_tokens
            dictionary = JumpReluDictionary(
                width, chosen.width, chosen.l0_coefficient, chosen.bandwidth, chosen.initial_threshold, *revival
            )
    dictionary.to(device)
    match chosen.decoder:
        case "frozen":
            dictionary.hold_decoder(1.0)
        case SoftFrozen(soft_frozen=least_cosine):
            dictionary.hold_decoder(least_cosine)
    return dictionary


def untrained_dictionary(like: SparseDictionary, source: TokenSource) -> SparseDictionary:
    """Random directions as active as a trained dictionary on every type of token, drawn from torch's seed."""
    return untrained_twin(like, sample_by_type(source, MATCHED_TOKENS).to(like.b_dec.device))


@torch.no_grad()
def hidden_units(like: SparseDictionary, source: TokenSource) -> SparseDictionary:
    """The hidden units, of which each token keeps as many as a trained dictionary has active concepts on average, rounded."""
    sample = sample_by_type(source, MATCHED_TOKENS).to(like.b_dec.device)
    l0 = sum(sample.shares[kind] * active for kind, active in l0_by_type(like, sample).items())
    dictionary = NeuronDictionary(source.width, min(max(1, round(l0)), source.width)).to(like.b_dec.device)
    dictionary.start_at(sample.hidden, sample.weights @ sample.hidden)
    return dictionary


def principal_components(count: int, source: TokenSource, device: torch.device) -> SparseDictionary:
    """The leading components of all training tokens.

    Raises:
        InputError: hidden states have fewer dimensions.
    """
    if count > source.width:
        problem = f"is {count}, but hidden states have {source.width} dimensions and no more components; lower it"
        raise InputError(None, "saes (architecture pca): width", problem)
    dictionary = PcaDictionary(source.width, count).to(device)
    dictionary.fit(source.chunk(number).to(device) for number in range(source.chunks))
    return dictionary


def _twin(stage: Stage) -> SparseDictionary:
    if "like" not in stage.inputs:
        raise InputError(None, "--like", "is missing; this dictionary copies the sparsity of a trained one")
    return load_dictionary(stage.inputs["like"])


def _held_out(stage: Stage, dictionary: SparseDictionary, source: TokenSource) -> dict[str, dict[str, float]]:
    """Metrics on held-out images; beside its own L0, a control's have that of the dictionary that it copies, on the same tokens."""
    metrics = held_out_metrics(dictionary, source.held_out())
    if dictionary.decoder_start is not None:
        cosines = cosines_to(dictionary.W_dec, dictionary.decoder_start)
        metrics["decoder"] = {"least_cosine_to_start": float(cosines.min()), "mean_cosine_to_start": float(cosines.mean())}
    if "like" in stage.inputs:
        path = stage.inputs["like"] / "metrics.json"
        try:
            copied = json.loads(path.read_text(encoding="utf-8"))
            for kind, own in metrics.items():
                own["l0_copied"] = copied[kind]["l0"]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(path, "l0", "is missing or damaged; rerun the stage train_sae for this dictionary") from error
    return metrics


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("train_sae", __doc__ or "", FLAGS, work, argv, several_processes=True)


if __name__ == "__main__":
    raise SystemExit(main())
