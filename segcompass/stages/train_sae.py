"""Trains one dictionary of the study, or draws the untrained control, and writes it in SAELens's format with held-out metrics."""

import csv
import json
from typing import Any

import torch
from pydantic import TypeAdapter

from segcompass.activations.cache import CacheReader
from segcompass.activations.stream import TokenStream
from segcompass.backbone.runtime import prepare_torch
from segcompass.errors import InputError
from segcompass.provenance.stage import Stage, run_stage
from segcompass.sae.batchtopk import BatchTopKDictionary
from segcompass.sae.checkpoint import load_dictionary, mean_l0, save_dictionary
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.dictionary import Dictionary as SparseDictionary
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.metrics import held_out_metrics
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import train
from segcompass.sae.untrained import UntrainedDictionary
from segcompass.study.concepts import BatchTopK, DenseMap, Dictionary, JumpRelu, ReluL1, SaeTrainingSettings, TopK

FLAGS = {"activations": "artefact of cache_activations", "like": "optional: the trained dictionary whose sparsity a random one copies"}

MATCHED_TOKENS = 4096
"""Tokens on which a random dictionary gets its thresholds."""


def work(stage: Stage) -> None:
    """Fills `cfg.json`, `sae_weights.safetensors`, `curves.csv` and `metrics.json`."""
    settings = SaeTrainingSettings.model_validate_json(json.dumps(stage.params["training"]))
    prepare_torch(stage.params["threads"], settings.seed)
    reader = CacheReader(stage.inputs["activations"], settings.held_out_fraction, settings.seed)
    dictionary = _untrained(stage, reader, settings) if "like" in stage.inputs else _initial(stage, reader.width)
    dictionary.hook_layer = reader.hook_layer
    rows: list[dict[str, Any]] = []
    if "like" not in stage.inputs:
        rows = train(dictionary, reader, settings, stage.resume_folder())
    save_dictionary(dictionary, stage.folder)
    with (stage.folder / "curves.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["step", "mse"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    metrics = held_out_metrics(dictionary, reader.held_out())
    (stage.folder / "metrics.json").write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    stage.rows |= {"tokens": reader.index["tokens"], "steps": len(rows)}
    stage.facts |= {"seed": settings.seed, "device": "cpu", "held_out": metrics["all"]}


def _initial(stage: Stage, width: int) -> SparseDictionary:
    chosen = TypeAdapter(Dictionary).validate_json(json.dumps(stage.params["dictionary"]))
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


def _untrained(stage: Stage, reader: CacheReader, settings: SaeTrainingSettings) -> SparseDictionary:
    like = load_dictionary(stage.inputs["like"])
    x = TokenStream(reader, settings.batch_tokens, settings.buffer_tokens, settings.seed).first()[:MATCHED_TOKENS]
    dictionary = UntrainedDictionary(like.input_width, like.features)
    with torch.no_grad():
        dictionary.match_sparsity(x, mean_l0(like, x))
    return dictionary


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("train_sae", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
