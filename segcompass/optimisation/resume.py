"""Resume points of a training run: weights, optimiser state and curve, written whole or not at all, without pickle.

Random draws of a step depend on (seed, step) alone, so no generator state needs to be kept and a resumed run ends with the same bytes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


class Stateful(Protocol):
    """What a resume point needs of an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """`state`, of each parameter by its number, and `param_groups`."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes both back."""
        ...


class ResumePoint:
    """One file `<name>.safetensors` in the stage's resume folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.safetensors"
        self.notes: dict[str, Any] = {}
        """What the run before this one told `save`, such as the wall time so far."""

    def save(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        optimiser: Stateful,
        rows: list[dict[str, Any]],
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Replaces the resume point by the state after `step` steps; `tensors` are the trained ones by name, `notes` values of JSON."""
        saved = {f"trained.{key}": value.detach().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
        for index, state in optimiser.state_dict()["state"].items():
            saved |= {
                f"optimiser.{index}.{key}": value.detach().clone(memory_format=torch.contiguous_format) for key, value in state.items()
            }
        draft = self.path.with_suffix(".tmp")
        metadata = {"step": str(step), "rows": json.dumps(rows), "notes": json.dumps(dict(notes or {}))}
        save_file(saved, draft, metadata)
        draft.replace(self.path)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], optimiser: Stateful) -> tuple[int, list[dict[str, Any]]]:
        """Restores the saved state into `tensors`, in place, and into the optimiser.

        Returns:
            (steps done, curve rows); (0, []) and nothing restored where there is no resume point.
        """
        if not self.path.is_file():
            return 0, []
        with safe_open(self.path, "pt") as file:
            metadata = file.metadata()
            self.notes = json.loads(metadata["notes"])
            saved = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in saved.items():
            kind, name = key.split(".", 1)
            if kind == "trained":
                tensors[name].copy_(value)
            else:
                index, name = name.split(".", 1)
                state.setdefault(int(index), {})[name] = value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        return int(metadata["step"]), json.loads(metadata["rows"])
