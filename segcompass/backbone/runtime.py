"""Makes torch reproducible before a model is loaded."""

import random

import numpy as np
import torch


def prepare_torch(threads: int, seed: int) -> None:
    """Fixes threads, seeds and deterministic kernels; the same inputs then give the same bytes on the same machine."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory, which only shows kernels that read what they never wrote, took a seventh of a step of the interface's training.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
