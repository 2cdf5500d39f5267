"""Reads the dictionary of the SegCompass release, `ep_<n>.pt`: a pickle, of which tensors alone are read, never code.

The release's layout is known only so far: ReLU codes, no b_dec subtracted before the encoder (paper section 3). A state dict is looked for
at the top or one level down, in the names of `nn.Linear` or of SAELens; whatever prefix stands before them does not matter.
"""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segcompass.errors import InputError
from segcompass.sae.relu_l1 import ReluL1Dictionary

NESTED = ("state_dict", "model_state_dict", "model", "sae", "sae_state_dict")
"""Keys below which training scripts usually put a state dict."""
LINEAR = {"encoder.weight": "W_enc", "encoder.bias": "b_enc", "decoder.weight": "W_dec", "decoder.bias": "b_dec"}
"""Names of `nn.Linear`, whose weights are transposed -> SAELens's names."""


@torch.no_grad()
def read_release(path: Path, hook_layer: int) -> ReluL1Dictionary:
    """The dictionary of a release's file, for the output of block `hook_layer`, counted from 1.

    Raises:
        InputError: the file cannot be read as plain tensors, or its layout is another one.
    """
    tensors = _state_dict(path)
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        for linear, own in LINEAR.items():
            if name == linear or name.endswith(f".{linear}"):
                found[own] = value.T if value.ndim == 2 else value
            elif name == own or name.endswith(f".{own}"):
                found[own] = value
    if found.keys() != set(LINEAR.values()):
        problem = f"must hold encoder and decoder weights and biases; it holds {', '.join(sorted(tensors)) or 'no tensor'}"
        raise InputError(path, "", problem)
    width, features = found["W_enc"].shape
    shapes = {"W_enc": (width, features), "b_enc": (features,), "W_dec": (features, width), "b_dec": (width,)}
    for name, shape in shapes.items():
        if tuple(found[name].shape) != shape:
            raise InputError(path, name, f"has shape {tuple(found[name].shape)}, which does not fit W_enc of {(width, features)}")
    dictionary = ReluL1Dictionary(width, features)
    dictionary.hook_layer = hook_layer
    for name, value in dictionary.weights().items():
        value.copy_(found[name])
    return dictionary


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol; what matters is an error
            raw: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error.strerror})") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(path, "", f"holds more than tensors or is damaged ({reason}); save its state dict alone first") from error
    levels = [raw, *(raw[key] for key in NESTED if key in raw)] if isinstance(raw, dict) else []
    for level in reversed(levels):
        if isinstance(level, dict):
            tensors = {str(name): value.float() for name, value in level.items() if isinstance(value, Tensor)}
            if tensors:
                return tensors
    keys = ", ".join(str(key) for key in raw) if isinstance(raw, dict) else type(raw).__name__
    raise InputError(path, "", f"holds no state dict; it holds {keys}")
