"""The processes of one training run, through accelerate: each takes its part of every batch, and gradients are averaged over them.

Every process holds the whole model and makes the same steps; one of them writes. Batch sizes of a study are those of all processes
together, so their number changes a result by rounding alone.
"""

import os
from collections.abc import Iterable, Sequence

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn

from segcompass.errors import InputError


class Processes:
    """The processes that share a run; without an accelerator, this one alone."""

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        """Waits for all processes.

        Raises:
            InputError: accelerate runs in fewer processes than were started, or was told to divide the weights among them.
        """
        if accelerator and accelerator.distributed_type == DistributedType.FSDP:
            problem = "is FSDP, but every process of this stage holds the whole model; take MULTI_GPU or MULTI_CPU"
            raise InputError(None, "distributed_type", problem)
        self._accelerator = accelerator
        self.count = accelerator.num_processes if accelerator else 1
        self.rank = accelerator.process_index if accelerator else 0
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if accelerator and self.count != started:
            raise InputError(None, "WORLD_SIZE", f"is {started}, but accelerate runs in {self.count}; start it with `accelerate launch`")
        if accelerator:
            accelerator.wait_for_everyone()

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

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Gives each tensor, in place, its mean over the processes."""
        if self._accelerator and self.count > 1:
            for tensor in tensors:
                tensor.copy_(self._accelerator.reduce(tensor, "mean"))

    @torch.no_grad()
    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Gives each parameter its mean gradient over the processes; one that has none in any of them keeps none."""
        if self.count == 1:
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
