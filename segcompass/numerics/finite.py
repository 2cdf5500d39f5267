"""Values that are not finite: refused where they arise, before they are published, and when they are loaded.

They arise where a type is narrowed (float16 ends at 65,504, and hidden states of bfloat16 models pass that), and where training diverges.
One of them spoils every sum that it enters, so each way out of a stage looks for them: trained weights and caches are written by
`save_finite`, steps of training are checked before they change a weight, and readers check what they read, because files may come from
elsewhere.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from segcompass.errors import InputError, damaged

Place = tuple[int, ...]


def unfinite(tensor: Tensor) -> tuple[Place, float] | None:
    """Place and value of the first element that is infinite or not a number; None where every one is finite."""
    if not tensor.is_floating_point():
        return None
    wrong = ~tensor.detach().isfinite()
    if not wrong.any():
        return None
    place = tuple(wrong.nonzero()[0].tolist())
    return place, float(tensor.detach()[place])


def narrowed(values: Tensor, dtype: torch.dtype, said: Callable[[Place], str]) -> Tensor:
    """The values on the CPU in the type of a cache.

    Args:
        values: as they were computed.
        dtype: of the cache.
        said: where in the model and the data an element belongs, in words.

    Raises:
        InputError: naming layer, token and value, if one is not finite, or is not in `dtype`.
    """
    narrow = values.detach().to("cpu", dtype)
    found = unfinite(narrow)
    if found is None:
        return narrow
    place, _ = found
    value = float(values[place])
    if math.isfinite(value):
        problem = f"is {_name(dtype)}, which cannot hold {value:g}, {said(place)}; set it to bfloat16 or float32"
        raise InputError(None, "activations.dtype", problem)
    raise InputError(None, "runtime.dtype", f"is {_name(values.dtype)}, and gives {value} as {said(place)}; compute in float32")


def check_step(values: Mapping[str, float], step: int, key: str) -> None:
    """Ends a training run at the first loss or gradient that is not finite, before it reaches the weights.

    Raises:
        InputError: naming the study's key `key`, which is to be lowered.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise InputError(None, key, f"makes `{name}` {value} at step {step}; lower it, or look at the data of that step")


def save_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes a safetensors file, if every value in it is finite.

    Raises:
        InputError: one is not; nothing is written.
        OSError: the file cannot be written; safetensors has an error of its own for that, which does not tell a full disk from a defect.
    """
    refuse_unfinite(tensors, path, "nothing of that kind is published; lower the learning rates, or compute in float32")
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error), str(path)) from error


def refuse_unfinite(tensors: Mapping[str, Tensor], where: Path | None, remedy: str) -> None:
    """Refuses tensors of which an element is not finite.

    Raises:
        InputError: naming tensor, place and value.
    """
    for name, tensor in tensors.items():
        if found := unfinite(tensor):
            raise InputError(where, name, f"is {found[1]} at {list(found[0])}; {remedy}")


def loaded_finite(tensors: Mapping[str, Tensor], folder: Path, file: str) -> None:
    """Refuses values that are not finite in a file of a folder that was made before.

    Raises:
        InputError: naming tensor, place and value.
    """
    for name, tensor in tensors.items():
        if found := unfinite(tensor):
            raise damaged(folder, f"{file}: {name}", f"is {found[1]} at {list(found[0])}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
