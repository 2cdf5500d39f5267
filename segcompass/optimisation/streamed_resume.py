"""Resume points of a run whose weights may be divided among processes: each writes its parts, file by file, and any number reads them.

`torch.distributed.checkpoint` in the format of safetensors, without pickle: a folder of files a step, each of at most `FILE_BYTES` or of
one tensor, so beside weights and moments there is one file's share of them in memory, never a copy of all. A small file that is replaced
at once names the folder that counts, so a point is there whole or not at all. As many processes as wrote a point go on to the same bytes;
another number adds up in another order, and so goes on up to rounding.
"""

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from segcompass.optimisation.processes import Processes

FILE_BYTES = 1 << 28
"""Of whole tensors in one file; each process writes its parts of them."""


class StreamedResumePoint:
    """`<name>.json` and the folder that it names, in the stage's resume folder; every process calls what is called."""

    def __init__(self, folder: Path, name: str, processes: Processes) -> None:
        self.folder, self.name, self.processes = folder, name, processes
        self.notes: dict[str, Any] = {}
        """What the run before this one told `save`, such as the wall time so far."""

    def save(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
        rows: list[dict[str, Any]],
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Replaces the resume point by the state after `step` steps.

        Args:
            step: steps done.
            tensors: all trained ones and others by name.
            optimiser: of the trained ones.
            rows: the curve.
            notes: values of JSON.

        Raises:
            OSError: a file cannot be written; the point before this one is still there.
        """
        folder = self.folder / f"{self.name}-{step}"
        if self.processes.main:
            for left in self._folders():
                if left.name != self._current().get("folder"):
                    shutil.rmtree(left)  # of a run that was killed while it wrote
        self.processes.wait()
        state = {f"trained.{name}": value.detach() for name, value in tensors.items()} | _moments(tensors, optimiser)
        with _causes():
            save(
                state,
                storage_writer=HuggingFaceStorageWriter(str(folder), _files(state), save_distributed=True),
                no_dist=self.processes.count == 1,
            )
        self.processes.wait()
        if self.processes.main:
            draft = self.folder / f"{self.name}.tmp"
            facts = {"folder": folder.name, "step": step, "rows": rows, "notes": dict(notes or {})}
            draft.write_text(json.dumps(facts), encoding="utf-8")
            draft.replace(self.folder / f"{self.name}.json")
            for old in self._folders():
                if old != folder:
                    shutil.rmtree(old)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> tuple[int, list[dict[str, Any]]]:
        """Restores the saved state into `tensors`, in place, and into the optimiser; each process reads its parts.

        Returns:
            (steps done, curve rows); (0, []) and nothing restored where there is no resume point.
        """
        facts = self._current()
        if not facts:
            return 0, []
        folder = str(self.folder / facts["folder"])
        held = HuggingFaceStorageReader(folder).read_metadata().state_dict_metadata
        named = _named(tensors, optimiser)
        for key in held:
            kind, _, place = key.partition(".")
            if kind == "optimiser":
                name, _, moment = place.rpartition(".")
                owner = named[name]
                alike = moment != "step"
                optimiser.state[owner][moment] = torch.zeros_like(owner) if alike else torch.zeros(())
        state = {f"trained.{name}": value.detach() for name, value in tensors.items()} | _moments(tensors, optimiser)
        with _causes():
            load(state, storage_reader=HuggingFaceStorageReader(folder), no_dist=self.processes.count == 1)
        self.notes = facts["notes"]
        return facts["step"], facts["rows"]

    def _folders(self) -> list[Path]:
        return [path for path in self.folder.glob(f"{self.name}-*") if path.is_dir()]

    def _current(self) -> dict[str, Any]:
        path = self.folder / f"{self.name}.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _named(tensors: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's parameters by their names."""
    owned = {id(value) for group in optimiser.param_groups for value in group["params"]}
    return {name: value for name, value in tensors.items() if id(value) in owned}


def _moments(tensors: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by name; safetensors are asked for parts, which a number without dimensions has none of."""
    named = _named(tensors, optimiser)
    return {
        f"optimiser.{name}.{moment}": state.detach().view(1) if state.ndim == 0 else state.detach()
        for name, value in named.items()
        for moment, state in optimiser.state.get(value, {}).items()
    }


def _files(state: Mapping[str, Tensor]) -> dict[str, int]:
    """The number of the file, from 1, that each tensor is written to."""
    numbers, number, filled = {}, 1, 0
    for name, value in state.items():
        size = value.numel() * value.element_size()
        if filled and filled + size > FILE_BYTES:
            number, filled = number + 1, 0
        numbers[name], filled = number, filled + size
    return numbers


@contextmanager
def _causes() -> Iterator[None]:
    """Raises what a process failed of, in the place of the list of failures of all; that there is one process is no news."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield
    except CheckpointException as error:
        found = [failure for failure, _ in error.failures.values() if isinstance(failure, OSError)]
        if not found:
            raise
        raise found[0] from error
