"""Where torch computes, and that it does so reproducibly."""

import os
import random

import numpy as np
import torch

from segcompass.errors import InputError


def prepare_torch(threads: int, seed: int) -> None:
    """Fixes threads, seeds and deterministic kernels; the same inputs then give the same bytes on the same machine."""
    torch.set_num_threads(threads)
    # Matrix products on CUDA refuse to run deterministically without a workspace of a fixed size; it is read before the first of them.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory, which only shows kernels that read what they never wrote, took a seventh of a step of the interface's training.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def usable_device(name: str) -> torch.device:
    """The device that the study's key `runtime.device` names.

    Raises:
        InputError: it is `cuda`, and torch finds none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(None, "runtime.device", "is `cuda`, but torch finds no such device here; set it to `cpu`, or run it where one is")
    return torch.device(name)
