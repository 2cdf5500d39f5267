"""Checkpoints in SAELens's folder format: `cfg.json` and `sae_weights.safetensors`.

`dense` is our own control; SAELens knows the others as `standard`, `topk` and `jumprelu` (JumpReLU, batch top-k and the untrained control).
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from segcompass.errors import InputError
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary


def save_dictionary(dictionary: Dictionary, folder: Path) -> None:
    """Writes the two files of a checkpoint."""
    config = {
        "architecture": dictionary.architecture,
        "d_in": dictionary.input_width,
        "d_sae": dictionary.features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        **dictionary.extra_config(),
        "metadata": {
            "hook_layer": dictionary.hook_layer,
            "hook_name": f"model.language_model.layers.{dictionary.hook_layer - 1}",
        },
    }
    weights = {name: value.detach().contiguous() for name, value in dictionary.weights().items()}
    save_file(weights, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def load_dictionary(folder: Path) -> Dictionary:
    """The frozen dictionary of a checkpoint.

    Raises:
        InputError: files are missing, damaged or of an unknown architecture.
    """
    try:
        config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "sae_weights.safetensors")
        dictionary = _empty(config["architecture"], config["d_in"], config["d_sae"], config.get("k"), folder)
        dictionary.load_state_dict(weights, strict=dictionary.architecture != "topk")
        dictionary.hook_layer = int(config["metadata"]["hook_layer"])
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(folder, "cfg.json, sae_weights.safetensors", f"are no checkpoint ({error}); rerun the stage train_sae") from error
    return dictionary.requires_grad_(False).eval()


def _empty(architecture: str, width: int, features: int, k: int | None, folder: Path) -> Dictionary:
    match architecture:
        case "standard":
            return ReluL1Dictionary(width, features)
        case "topk":
            return TopKDictionary(width, features, k or 0)
        case "jumprelu":
            return JumpReluDictionary(width, features)
        case "dense":
            return DenseDictionary(width, features)
    raise InputError(folder / "cfg.json", "architecture", f"`{architecture}` is none of standard, topk, jumprelu, dense")


@torch.no_grad()
def mean_l0(dictionary: Dictionary, x: torch.Tensor) -> float:
    """Active concepts a token of `x` [T, d]."""
    return float((dictionary.encode(x) != 0).float().sum(-1).mean())
