"""Checkpoints in SAELens's folder format: `cfg.json` and `sae_weights.safetensors`; SAELens reads ours, we read SAELens's.

SAELens knows our dictionaries as `standard`, `topk` and `jumprelu` (JumpReLU, batch top-k and the untrained control); `dense`, `pca` and
`neurons` are controls of our own, with codes of either sign, which it cannot open. What a checkpoint of SAELens does besides (subtract
b_dec from its input, rescale codes by decoder norm) is folded into the weights when it is read, so that codes and reconstructions are the
same numbers; what cannot be folded is refused.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from segcompass.errors import InputError
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.neurons import NeuronDictionary
from segcompass.sae.pca import PcaDictionary
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary

FORMAT = "6.0.0"
"""Version of SAELens whose format is written; without it SAELens takes a folder for one of its version 5 and drops the metadata."""
HOOK_NAMES = {
    r"blocks\.(\d+)\.hook_resid_post": 1,
    r"blocks\.(\d+)\.hook_resid_pre": 0,
    r"(?:\w+\.)*layers\.(\d+)": 1,
}
"""Hook name with a block's number from 0 -> what to add to it to get `hook_layer`."""


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
            "sae_lens_version": FORMAT,
            "hook_layer": dictionary.hook_layer,
            "hook_name": f"blocks.{dictionary.hook_layer - 1}.hook_resid_post",
            **_held(dictionary),
        },
    }
    weights = {name: value.detach().contiguous() for name, value in dictionary.weights().items()}
    save_file(weights, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


@torch.no_grad()
def load_dictionary(folder: Path) -> Dictionary:
    """The frozen dictionary of a checkpoint, ours or SAELens's.

    Raises:
        InputError: files are missing or damaged, or the checkpoint does something that no dictionary of ours does.
    """
    try:
        config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
        weights = {name: value.float() for name, value in load_file(folder / "sae_weights.safetensors").items()}
        _refuse_what_cannot_be_folded(config, weights, folder)
        _fold(config, weights)
        dictionary = _empty(config, folder)
        dictionary.hook_layer = hook_layer(config, folder)
        dictionary.least_cosine = config.get("metadata", {}).get("decoder_cosine")
        expected = dictionary.weights()
        if expected.keys() != weights.keys():
            raise KeyError(f"tensors {', '.join(sorted(weights))} instead of {', '.join(sorted(expected))}")
        for name, value in expected.items():
            if value.shape != weights[name].shape:
                raise ValueError(f"{name} of shape {tuple(weights[name].shape)} instead of {tuple(value.shape)}")
            value.copy_(weights[name])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(folder, "cfg.json, sae_weights.safetensors", f"are no checkpoint ({error}); rerun the stage train_sae") from error
    return dictionary.requires_grad_(False).eval()


def hook_layer(config: dict[str, Any], folder: Path) -> int:
    """l, counted from 1, of a checkpoint's config: our own key, else from SAELens's name of the hook."""
    metadata = config.get("metadata", config)
    name = str(metadata.get("hook_name"))
    for pattern, offset in HOOK_NAMES.items():
        if found := re.fullmatch(pattern, name):
            return int(found[1]) + offset
    raise InputError(folder / "cfg.json", "metadata.hook_name", f"`{name}` is no output of a block; name it blocks.<n>.hook_resid_post")


def _held(dictionary: Dictionary) -> dict[str, object]:
    """What the metadata say of a decoder that was not trained freely; SAELens keeps keys that it does not know."""
    if dictionary.least_cosine is None:
        return {}
    return {"decoder": "frozen" if dictionary.least_cosine == 1 else "soft_frozen", "decoder_cosine": dictionary.least_cosine}


def _refuse_what_cannot_be_folded(config: dict[str, Any], weights: dict[str, Tensor], folder: Path) -> None:
    normalised = config.get("normalize_activations", "none")
    if normalised not in ("none", None, False):
        problem = f"is `{normalised}`, a normalisation that the weights do not hold; fold it with SAELens or train without it"
        raise InputError(folder / "cfg.json", "normalize_activations", problem)
    if config.get("reshape_activations", "none") != "none":
        raise InputError(folder / "cfg.json", "reshape_activations", "must be `none`; only residual-stream dictionaries are read")
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if activation != "relu":
        raise InputError(folder / "cfg.json", "activation_fn", f"`{activation}` is not read; convert the checkpoint with SAELens 6 first")
    if "scaling_factor" in weights:
        raise InputError(folder / "sae_weights.safetensors", "scaling_factor", "is not read; fold it into W_dec first")


def _fold(config: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Changes weights in place so that encode is act(x W_enc + b_enc) and decode z W_dec + b_dec."""
    if "log_threshold" in weights:
        weights["threshold"] = weights.pop("log_threshold").exp()
    if "threshold" in weights:
        weights["threshold"] = weights["threshold"].clamp(min=0.0)  # SAELens applies ReLU besides
    if config.get("apply_b_dec_to_input", True) and config["architecture"] != "dense":
        weights["b_enc"] = weights["b_enc"] - weights["b_dec"] @ weights["W_enc"]
    if config.get("rescale_acts_by_decoder_norm", False):
        norms = weights["W_dec"].norm(dim=1)
        weights["W_enc"] = weights["W_enc"] * norms
        weights["b_enc"] = weights["b_enc"] * norms
        weights["W_dec"] = weights["W_dec"] / norms[:, None]


def _empty(config: dict[str, Any], folder: Path) -> Dictionary:
    width, features = int(config["d_in"]), int(config["d_sae"])
    match config["architecture"]:
        case "standard":
            return ReluL1Dictionary(width, features)
        case "topk":
            return TopKDictionary(width, features, int(config["k"]))
        case "jumprelu":
            return JumpReluDictionary(width, features)
        case "dense":
            return DenseDictionary(width, features)
        case "pca":
            return PcaDictionary(width, features)
        case "neurons":
            return NeuronDictionary(width, int(config["k"]))
    known = "standard, topk, jumprelu, dense, pca, neurons"
    raise InputError(folder / "cfg.json", "architecture", f"`{config['architecture']}` is none of {known}")
