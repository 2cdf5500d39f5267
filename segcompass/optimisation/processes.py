"""The processes of one training run, through accelerate: each takes its part of every batch, and gradients are averaged over them.

Every process makes the same steps; one of them writes the artefact. Batch sizes of a study are those of all processes together, so their
number changes a result by rounding alone. Each holds the whole model or, where accelerate is told so (`distributed_type: FSDP`) and the
stage can, a part of the weights (division.py). Of the file's FSDP section two keys are read, `fsdp_version` and `fsdp_offload_params`:
what is gathered together, and in which type, follows from the model and the study.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from segcompass.errors import InputError


class Processes:
    """The processes that share a run; without an accelerator, this one alone."""

    mesh: DeviceMesh | None
    """All processes in a row, where weights are divided among them."""

    def __init__(self, accelerator: Accelerator | None = None, may_divide: bool = False) -> None:
        """Waits for all processes.

        Args:
            accelerator: of this process; None: this one alone.
            may_divide: whether the stage can divide weights among the processes.

        Raises:
            InputError: accelerate runs in fewer processes than were started, or was told to divide the weights in a way that is not ours.
        """
        # accelerate itself says FSDP of GPUs alone; the variable that its launcher sets says it of processors too.
        asked = accelerator is not None and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
        if asked:
            _refuse_other_divisions(may_divide)
        self._accelerator = accelerator
        self.count = accelerator.num_processes if accelerator else 1
        self.rank = accelerator.process_index if accelerator else 0
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if accelerator and self.count != started:
            raise InputError(None, "WORLD_SIZE", f"is {started}, but accelerate runs in {self.count}; start it with `accelerate launch`")
        self.mesh = init_device_mesh(self.device.type, (self.count,)) if asked and self.count > 1 else None
        if accelerator:
            accelerator.wait_for_everyone()

    @property
    def divided(self) -> bool:
        """Whether each process holds a part of the weights, not all of them."""
        return self.mesh is not None

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Lets one process after the other do what takes much memory for a while and needs no other process."""
        for _ in range(self.rank):
            self.wait()
        yield
        for _ in range(self.rank, self.count):
            self.wait()

    @contextmanager
    def whole_weights(self, device: str) -> Iterator[str]:
        """Where to hold all weights for a while: `device`; before they are divided the processor, one process after the other."""
        with self.in_turn() if self.divided else nullcontext():
            yield "cpu" if self.divided else device

    def wait(self) -> None:
        """Waits until every process has come here."""
        if self._accelerator:
            self._accelerator.wait_for_everyone()

    @property
    def device(self) -> torch.device:
        """Where this process computes; without an accelerator, the processor."""
        return torch.device(self._accelerator.device) if self._accelerator else torch.device("cpu")

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def part(self, batch: Tensor) -> Tensor:
        """This process's rows of a batch [T, ..], whose length the number of processes divides."""
        places = self.share(len(batch))
        return batch[places.start : places.stop]

    def share(self, size: int) -> range:
        """This process's places of a batch of `size`, which the number of processes divides: `part` without a tensor."""
        size //= self.count
        return range(self.rank * size, (self.rank + 1) * size)

    def dealt(self, batches: int) -> Iterator[tuple[int, bool]]:
        """This process's numbers of some batches that are dealt out in turn, and whether what comes of each counts.

        Where weights are divided, passes gather them from all processes: one that has no batch left when others have passes through the
        last one with them, and that does not count.
        """
        yield from ((number, True) for number in range(self.rank, batches, self.count))
        if self.divided and self.rank >= (batches % self.count or self.count):
            yield batches - 1, False

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Gives each tensor, in place, its mean over the processes."""
        if self._accelerator and self.count > 1:
            for tensor in tensors:
                tensor.copy_(self._accelerator.reduce(tensor, "mean"))

    @torch.no_grad()
    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Gives each parameter its mean gradient over the processes; one that has none in any of them keeps none.

        Gradients of divided parameters are means already, each process's part of them.
        """
        parameters = [parameter for parameter in parameters if not isinstance(parameter, DTensor)]
        if self.count == 1 or not parameters:
            return
        present = [0.0 if parameter.grad is None else 1.0 for parameter in parameters]
        for parameter, somewhere in zip(parameters, self.total(torch.tensor(present, device=parameters[0].device)).tolist(), strict=True):
            if somewhere and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.average(parameter.grad for parameter in parameters if parameter.grad is not None)

    @torch.no_grad()
    def total(self, tensor: Tensor) -> Tensor:
        """The sum over the processes."""
        return self._accelerator.reduce(tensor, "sum") if self._accelerator and self.count > 1 else tensor

    @torch.no_grad()
    def gathered(self, tensor: Tensor) -> Tensor:
        """The tensors [m, ..] of all processes, one below the other in the order of their ranks; all have the same shape."""
        return self._accelerator.gather(tensor.contiguous()) if self._accelerator and self.count > 1 else tensor

    def anywhere(self, here: bool) -> bool:
        """Whether something holds in any process; all of them ask together."""
        return bool(self.total(torch.tensor(float(here), device=self.device)) > 0)


def _refuse_other_divisions(may_divide: bool) -> None:
    if not may_divide:
        problem = "is FSDP, but every process of this stage holds the whole model; take MULTI_GPU or MULTI_CPU"
        raise InputError(None, "distributed_type", problem)
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        raise InputError(None, "fsdp_config.fsdp_version", f"is {version}, but weights are divided by FSDP2; set it to 2")
    if os.environ.get("FSDP_OFFLOAD_PARAMS", "false").lower() == "true":
        problem = "is true, but weights stay where the study's `runtime.device` says; set it to false"
        raise InputError(None, "fsdp_config.fsdp_offload_params", problem)
