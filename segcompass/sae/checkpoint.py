"""Checkpoints in SAELens's folder format: `cfg.json` and `sae_weights.safetensors`; SAELens reads ours, we read SAELens's.

SAELens knows our dictionaries as `standard`, `topk` and `jumprelu` (JumpReLU, batch top-k and the untrained control); `dense`, `pca` and
`neurons` are controls of our own, with codes of either sign, which it cannot open. What a checkpoint of SAELens does besides (subtract
b_dec from its input, rescale codes by decoder norm) is folded into the weights when it is read, so that codes and reconstructions are the
same numbers. So is a `gated` encoder: gate and magnitude read the same product, so a concept passes its gate where its magnitude is above
b_mag - exp(r_mag) b_gate, which is a JumpReLU. What cannot be folded is refused, by name.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from segcompass.errors import InputError, damaged
from segcompass.numerics.finite import refuse_unfinite, save_finite
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.neurons import NeuronDictionary
from segcompass.sae.pca import PcaDictionary
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary

FORMAT = "6.0.0"
"""Version of SAELens whose format is written; without it SAELens takes a folder for one of its version 5 and drops the metadata."""
ENCODERS = {
    "standard": {"W_enc", "b_enc"},
    "topk": {"W_enc", "b_enc"},
    "jumprelu": {"W_enc", "b_enc", "threshold"},
    "gated": {"W_enc", "b_gate", "b_mag", "r_mag"},
    "dense": {"W_enc", "b_enc"},
    "pca": {"W_enc", "b_enc"},
    "neurons": {"W_enc", "b_enc"},
}
"""Architecture of a checkpoint -> tensors of its encoder; the decoder's are W_dec and b_dec."""
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
    save_finite(weights, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def load_dictionary(folder: Path) -> Dictionary:
    """The frozen dictionary of a checkpoint, ours or SAELens's.

    Raises:
        InputError: files are missing or damaged, or the checkpoint does something that no dictionary of ours does.
    """
    try:
        config = json.loads((folder / "cfg.json").read_text(encoding="utf-8-sig"))
        weights = {name: value.float() for name, value in load_file(folder / "sae_weights.safetensors").items()}
        if not isinstance(config, dict):
            raise TypeError("cfg.json holds no keys")
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise damaged(folder, "cfg.json, sae_weights.safetensors", f"are no checkpoint ({error})") from error
    _refuse_what_cannot_be_folded(config, weights, folder)
    dictionary = assembled(config, weights, folder / "sae_weights.safetensors")
    dictionary.hook_layer = hook_layer(config, folder)
    dictionary.least_cosine = config.get("metadata", {}).get("decoder_cosine")
    return dictionary


@torch.no_grad()
def assembled(config: dict[str, Any], weights: dict[str, Tensor], where: Path) -> Dictionary:
    """The frozen dictionary that computes what a checkpoint's keys and tensors, by SAELens's names, say.

    Raises:
        InputError: naming the file `where` and the key or tensor, if one is missing, unknown or of another shape.
    """
    if "log_threshold" in weights:
        weights = {name: value for name, value in weights.items() if name != "log_threshold"} | {
            "threshold": weights["log_threshold"].exp()
        }
    _refuse_other_tensors(config["architecture"], weights, where)
    given = {key: config.get(key) for key in ("d_in", "d_sae", *(["k"] if config["architecture"] in ("topk", "neurons") else []))}
    for key, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(
                where, key, f"is {value!r} in the checkpoint's config, and must be a whole number from 1 on; take it from its maker"
            )
    width, features = config["d_in"], config["d_sae"]
    if config.get("k", 1) > features:
        raise InputError(where, "k", f"is {config['k']}, more than the {features} concepts that there are; take it from its maker")
    shapes = {"W_enc": (width, features), "W_dec": (features, width), "b_dec": (width,)}
    for name, value in weights.items():
        if value.shape != (shape := shapes.get(name, (features,))):
            problem = f"has shape {tuple(value.shape)} where the rest of the checkpoint asks for {shape}; they are of two dictionaries"
            raise InputError(where, name, problem)
    remedy = "take a whole copy of it, or another dictionary"
    refuse_unfinite(weights, where, remedy)  # before folding, which would spread one over other tensors
    dictionary, folded = _empty(config), _folded(config, weights)
    refuse_unfinite(folded, where, remedy)
    for name, value in dictionary.weights().items():
        value.copy_(folded[name])
    return dictionary.requires_grad_(False).eval()


def hook_layer(config: dict[str, Any], folder: Path) -> int:
    """l, counted from 1, of a checkpoint's config: our own key, else from SAELens's name of the hook."""
    metadata = config.get("metadata")
    name = str((metadata if isinstance(metadata, dict) else config).get("hook_name"))
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
    architecture = config.get("architecture")
    if architecture not in ENCODERS:
        problem = f"`{architecture}` is no dictionary that is read here; convert it to one of {', '.join(ENCODERS)}, or take another one"
        raise InputError(folder / "cfg.json", "architecture", problem)
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


def _refuse_other_tensors(architecture: str, weights: dict[str, Tensor], where: Path) -> None:
    """Nothing is left out silently: a tensor that this architecture does not have may change the codes."""
    expected = ENCODERS[architecture] | {"W_dec", "b_dec"}
    if missing := sorted(expected - weights.keys()):
        raise InputError(
            where, ", ".join(missing), f"is missing, and `{architecture}` needs it; the file holds {', '.join(sorted(weights))}"
        )
    if unknown := sorted(weights.keys() - expected):
        raise InputError(where, ", ".join(unknown), f"is no tensor of `{architecture}` and may change its codes; name its architecture")


def _folded(config: dict[str, Any], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with which encode is act(x W_enc + b_enc) and decode z W_dec + b_dec."""
    weights = dict(weights)
    if config["architecture"] == "gated":
        scale, gate, magnitude = weights.pop("r_mag").exp(), weights.pop("b_gate"), weights.pop("b_mag")
        weights |= {"W_enc": weights["W_enc"] * scale, "b_enc": magnitude, "threshold": magnitude - scale * gate}
    if config.get("apply_b_dec_to_input", True) and config["architecture"] != "dense":
        weights["b_enc"] = weights["b_enc"] - weights["b_dec"] @ weights["W_enc"]
    if config.get("rescale_acts_by_decoder_norm", False):
        norms = weights["W_dec"].norm(dim=1)
        for name in {"W_enc", "b_enc", "threshold"} & weights.keys():
            weights[name] = weights[name] * norms
        weights["W_dec"] = weights["W_dec"] / norms[:, None]
    if "threshold" in weights:
        weights["threshold"] = weights["threshold"].clamp(min=0.0)  # SAELens applies ReLU besides
    return weights


def _empty(config: dict[str, Any]) -> Dictionary:
    width, features = config["d_in"], config["d_sae"]
    match config["architecture"]:
        case "standard":
            return ReluL1Dictionary(width, features)
        case "topk":
            return TopKDictionary(width, features, config["k"])
        case "jumprelu" | "gated":
            return JumpReluDictionary(width, features)
        case "pca":
            return PcaDictionary(width, features)
        case "neurons":
            return NeuronDictionary(width, config["k"])
    return DenseDictionary(width, features)
