"""What a resume point keeps of a dictionary's training: weights and moments, of the whole dictionary also where processes divide it.

So a run may go on in another number of processes than it began in. Joining takes memory on the CPU of the main process, and a moment's
rows at a time on every device.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from segcompass.optimisation.processes import Processes
from segcompass.optimisation.resume import ResumePoint
from segcompass.sae.dictionary import Dictionary

Rows = list[dict[str, Any]]


class WholeState:
    """State of a dictionary that each process holds whole."""

    def __init__(self, dictionary: Dictionary, optimiser: torch.optim.Optimizer, processes: Processes) -> None:
        self.dictionary, self.optimiser, self.processes = dictionary, optimiser, processes

    def save(self, point: ResumePoint, step: int, beside: Mapping[str, Tensor], rows: Rows) -> None:
        """Writes the resume point after `step` steps, on the main process, with the tensors `beside`; every process calls it."""
        if self.processes.main:
            point.save(step, self.dictionary.state_dict() | dict(beside), self.optimiser, rows)

    def load(self, point: ResumePoint, beside: Mapping[str, Tensor]) -> tuple[int, Rows]:
        """Restores dictionary, optimiser and `beside`; see `ResumePoint.load`."""
        return point.load(self.dictionary.state_dict() | dict(beside), self.optimiser)


class DividedState(WholeState):
    """State of a dictionary whose concepts the processes divide."""

    def save(self, point: ResumePoint, step: int, beside: Mapping[str, Tensor], rows: Rows) -> None:
        """See `WholeState.save`."""
        own = self.dictionary.rows()
        tensors = {name: self._joined(value) if name in own else value for name, value in self.dictionary.state_dict().items()}
        moments = {
            index: {key: self._joined(value) if index in self._divided and value.ndim else value for key, value in state.items()}
            for index, state in self.optimiser.state_dict()["state"].items()
        }
        if self.processes.main:
            point.save(step, tensors | dict(beside), _Moments(self.optimiser, moments), rows)

    def load(self, point: ResumePoint, beside: Mapping[str, Tensor]) -> tuple[int, Rows]:
        """See `WholeState.load`."""
        own = self.dictionary.rows()
        whole = {name: value.new_empty(len(value) * self.processes.count, *value.shape[1:]) for name, value in own.items()}
        moments = _Moments(self.optimiser, {})
        done, rows = point.load(self.dictionary.state_dict() | whole | dict(beside), moments)
        if not done:
            return done, rows
        for name, value in own.items():
            value.detach().copy_(self.processes.part(whole[name]))
        state = {
            index: {key: self.processes.part(value) if index in self._divided and value.ndim else value for key, value in kept.items()}
            for index, kept in moments.state.items()
        }
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        return done, rows

    @property
    def _divided(self) -> set[int]:
        """Numbers of the optimiser's parameters that have a row a concept."""
        (group,) = self.optimiser.param_groups
        return {index for index, parameter in enumerate(group["params"]) if parameter is not self.dictionary.b_dec}

    def _joined(self, value: Tensor) -> Tensor:
        joined = self.processes.gathered(value)
        return joined.cpu() if self.processes.main else joined


class _Moments:
    """Moments of all concepts in the place of the optimiser that holds a part of them."""

    def __init__(self, optimiser: torch.optim.Optimizer, state: dict[int, dict[str, Tensor]]) -> None:
        self.optimiser, self.state = optimiser, state

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state, "param_groups": self.optimiser.state_dict()["param_groups"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict["state"]
