"""Reads dictionaries that others saved as a state dict, `ep_<n>.pt` or `ae.pt`: a pickle, of which tensors alone are read, never code.

A layout is known by its tensors' names, all of them: a tensor that no layout has may change the codes, so it is refused by name and never
left out. Where two layouts have the same names, a `config.json` beside the file decides (`trainer.dict_class`, which `dictionary_learning`
writes), or the user. The SegCompass release's layout is known only so far: ReLU codes, no b_dec subtracted before the encoder (paper
section 3), in the names of `nn.Linear`. Source of the others: `dictionary_learning` 0.1.0 (S. Marks and others), whose classes name them.
"""

import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segcompass.errors import InputError
from segcompass.sae.checkpoint import assembled
from segcompass.sae.dictionary import Dictionary

NESTED = ("state_dict", "model_state_dict", "model", "sae", "sae_state_dict")
"""Keys below which training scripts usually put a state dict."""
LINEAR = {"encoder.weight": "W_enc", "encoder.bias": "b_enc", "decoder.weight": "W_dec"}
"""Names of `nn.Linear`, whose weights are transposed -> SAELens's names."""
SPARSE = LINEAR | {"b_dec": "b_dec", "k": "k", "threshold": "threshold"}
GATED = {"gate_bias": "b_gate", "mag_bias": "b_mag", "r_mag": "r_mag", "decoder_bias": "b_dec"}


@dataclass(frozen=True)
class Layout:
    """How a project names its tensors, and what its dictionary does, in SAELens's words."""

    names: Mapping[str, str]
    """Name in the file -> SAELens's name; `k` is a number and no tensor there."""
    config: Mapping[str, Any]
    unused: frozenset[str] = frozenset()
    """Names in the file that its encoder does not read; they may be absent."""


LAYOUTS = {
    "release": Layout(LINEAR | {"decoder.bias": "b_dec"}, {"architecture": "standard", "apply_b_dec_to_input": False}),
    "AutoEncoder": Layout(LINEAR | {"bias": "b_dec"}, {"architecture": "standard"}),
    "AutoEncoderTopK": Layout(SPARSE, {"architecture": "topk"}, frozenset({"threshold"})),
    "BatchTopKSAE": Layout(SPARSE, {"architecture": "jumprelu"}, frozenset({"k"})),
    "JumpReluAutoEncoder": Layout(
        {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")},
        {"architecture": "jumprelu", "apply_b_dec_to_input": False, "rescale_acts_by_decoder_norm": True},
    ),
    "GatedAutoEncoder": Layout(
        {name: own for name, own in LINEAR.items() if own != "b_enc"} | GATED,
        {"architecture": "gated", "rescale_acts_by_decoder_norm": True},
    ),
}
"""Name of a layout, as `--layout` takes it."""
SIMILAR = {
    "JumpReluAutoEncoder": "SAELens's tensors have these names too; a folder with its `cfg.json` needs no conversion",
}
TELLING = ("k", "top_k", "topk", "activation", "activation_fn", "architecture", "dict_class")
"""Keys beside the tensors that would say that a dictionary is none of plain ReLU."""


def read_release(path: Path, hook_layer: int, layout: str | None = None) -> Dictionary:
    """The dictionary of a state dict, for the output of block `hook_layer`, counted from 1.

    Raises:
        InputError: the file cannot be read as plain tensors, its layout is unknown or may be one of several, or it is not `layout`.
    """
    tensors, beside = _state_dict(path)
    chosen = layout or _layout(path, tensors, beside)
    known = LAYOUTS[chosen]
    _refuse_other_names(path, chosen, tensors)
    config = dict(known.config)
    weights = {}
    for name, value in tensors.items():
        own = known.names[name]
        if name == "k":
            config["k"] = _number(path, value)
        elif name not in known.unused:
            weights[own] = value.T if name in LINEAR and value.ndim == 2 else value
    if weights["W_enc"].ndim != 2:
        raise InputError(path, "W_enc", f"has shape {tuple(weights['W_enc'].shape)}; an encoder is a matrix")
    config["d_in"], config["d_sae"] = weights["W_enc"].shape
    if "threshold" in weights and weights["threshold"].ndim == 0:
        weights["threshold"] = weights["threshold"].expand(config["d_sae"])
    dictionary = assembled(config, weights, path)
    dictionary.hook_layer = hook_layer
    return dictionary


def _layout(path: Path, tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> str:
    """The one layout that a file can be of."""
    if (named := _named_beside(path)) is not None:
        if named not in LAYOUTS:
            raise InputError(path.with_name("config.json"), "trainer.dict_class", f"`{named}` is not read; known are {', '.join(LAYOUTS)}")
        return named
    fitting = [name for name, known in LAYOUTS.items() if known.names.keys() - known.unused <= tensors.keys() <= known.names.keys()]
    if not fitting:
        best = max(LAYOUTS, key=lambda name: len(LAYOUTS[name].names.keys() & tensors.keys()))
        _refuse_other_names(path, best, tensors)
    if len(fitting) > 1 or fitting[0] in SIMILAR:
        hint = "".join(f"; {SIMILAR[name]}" for name in fitting if name in SIMILAR)
        problem = f"may be {' or '.join(fitting)}, whose tensors have the same names; say which by --layout{hint}"
        raise InputError(path, ", ".join(sorted(tensors)), problem)
    telling = [key for key in TELLING if key in beside and str(beside[key]).lower() not in ("relu", "none", "standard")]
    if telling and LAYOUTS[fitting[0]].config["architecture"] == "standard":
        problem = (
            f"is {beside[telling[0]]!r} beside the tensors of a plain ReLU dictionary, which has none; if it is one, say --layout release"
        )
        raise InputError(path, telling[0], problem)
    return fitting[0]


def _refuse_other_names(path: Path, layout: str, tensors: Mapping[str, Tensor]) -> None:
    known = LAYOUTS[layout]
    if unknown := sorted(tensors.keys() - known.names.keys()):
        problem = f"is no tensor of {layout}, the likeliest layout, and may change its codes; known are {_described()}"
        raise InputError(path, ", ".join(unknown), problem)
    if missing := sorted(known.names.keys() - known.unused - tensors.keys()):
        problem = f"is missing, and {layout} has it; the file holds {', '.join(sorted(tensors))}; known are {_described()}"
        raise InputError(path, ", ".join(missing), problem)


def _described() -> str:
    return ", ".join(f"{name} ({', '.join(sorted(known.names))})" for name, known in LAYOUTS.items())


def _number(path: Path, value: Tensor) -> int:
    if value.numel() != 1:
        raise InputError(path, "k", f"has shape {tuple(value.shape)}; it must be one number")
    return int(value)


def _named_beside(path: Path) -> str | None:
    """Class of the dictionary in the `config.json` that `dictionary_learning` writes beside its `ae.pt`."""
    try:
        return str(json.loads(path.with_name("config.json").read_text(encoding="utf-8-sig"))["trainer"]["dict_class"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _state_dict(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, without a prefix that all of them share, and what else stands beside them or around them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol; what matters is an error
            raw: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error.strerror}); name a file of torch.save") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(path, "", f"holds more than tensors or is damaged ({reason}); save its state dict alone first") from error
    levels = {"": raw} | {key: raw[key] for key in NESTED if isinstance(raw.get(key), dict)} if isinstance(raw, dict) else {}
    found = {key: level for key, level in levels.items() if any(isinstance(value, Tensor) for value in level.values())}
    if len(found) > 1:
        places = " and ".join(f"`{key}`" if key else "its top" for key in found)
        raise InputError(path, "", f"holds tensors below {places}; save the dictionary's state dict alone first")
    if not found:
        keys = ", ".join(str(key) for key in raw) if isinstance(raw, dict) else type(raw).__name__
        raise InputError(path, "", f"holds no state dict; it holds {keys or 'nothing'}")
    (level,) = found.values()
    tensors = {str(name): value.float() for name, value in level.items() if isinstance(value, Tensor)}
    prefix = _shared_prefix(list(tensors))
    beside = {str(key): value for part in (raw, level) for key, value in part.items() if not isinstance(value, Tensor | dict)}
    return {name.removeprefix(prefix): value for name, value in tensors.items()}, beside


def _shared_prefix(names: list[str]) -> str:
    """What precedes every name, up to a dot, such as `module.`; what some layout calls its tensors is no prefix."""
    own = {name for known in LAYOUTS.values() for name in known.names}
    prefix = ""
    while not own & {name.removeprefix(prefix) for name in names}:
        heads = {name.removeprefix(prefix).partition(".") for name in names}
        first = {head for head, _, _ in heads}
        if len(first) > 1 or not all(rest for _, _, rest in heads):
            return prefix
        prefix += f"{first.pop()}."
    return prefix
