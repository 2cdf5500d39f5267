"""Resume points of a training run: weights, optimiser state and curve, written whole or not at all, without pickle.

Random draws of a step depend on (seed, step) alone, so no generator state needs to be kept and a resumed run ends with the same bytes.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


class ResumePoint:
    """One file `<name>.safetensors` in the stage's resume folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.safetensors"

    def save(self, step: int, module: nn.Module, optimiser: torch.optim.Optimizer | None, rows: list[dict[str, Any]]) -> None:
        """Replaces the resume point by the state after `step` steps."""
        tensors = {f"module.{key}": value.contiguous() for key, value in module.state_dict().items()}
        if optimiser is not None:
            for index, state in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{index}.{key}": value.contiguous() for key, value in state.items()}
        draft = self.path.with_suffix(".tmp")
        save_file({key: value.clone() for key, value in tensors.items()}, draft, {"step": str(step), "rows": json.dumps(rows)})
        draft.replace(self.path)

    def load(self, module: nn.Module, optimiser: torch.optim.Optimizer | None) -> tuple[int, list[dict[str, Any]]]:
        """Restores the saved state.

        Returns:
            (steps done, curve rows); (0, []) and nothing restored where there is no resume point.
        """
        if not self.path.is_file():
            return 0, []
        with safe_open(self.path, "pt") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        module.load_state_dict({key.removeprefix("module."): value for key, value in tensors.items() if key.startswith("module.")})
        if optimiser is not None:
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith("optimiser."):
                    _, index, name = key.split(".", 2)
                    state.setdefault(int(index), {})[name] = value
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        return int(metadata["step"]), json.loads(metadata["rows"])
