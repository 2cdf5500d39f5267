"""The concepts of a dictionary divided among processes: each holds F / n rows of encoder and decoder, and their moments.

Every process sees all tokens of a batch, since each encodes them by its own concepts. What crosses between processes has the size of
reconstructions, [T, d], or of a ranking's candidates, [T, n k], never that of F. To divide the tokens as well would need every weight on
every process, which is what does not fit.

Losses are those of all concepts, the same numbers on every process: partial results are added, and each part keeps its own gradient.

Shape letters: T tokens, F concepts of all processes, k kept concepts of a token, n processes.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from segcompass.optimisation.processes import Processes
from segcompass.sae.selection import largest

DIVIDED_FROM = 65_536
"""F from which on several processes divide the concepts; below, they divide the tokens of a batch, which needs fewer messages."""


class AllConcepts:
    """Where one process holds every concept."""

    def summed(self, part: Tensor) -> Tensor:
        """The sum of the parts of all processes, through which each part gets the whole's gradient."""
        return part

    def count(self, own: Tensor) -> int:
        """Length of a list [m] over all processes."""
        return len(own)

    def largest(self, before: Tensor, k: int) -> Tensor:
        """Places of this process's values [t, m] that are among the k largest of a token over all processes; see `selection.largest`."""
        return largest(before, k)

    def least_of_largest(self, values: Tensor, count: int) -> Tensor:
        """The least of the `count` largest of all processes' values [m], 0-dimensional; 0 where there is no value."""
        return values.topk(min(count, len(values))).values[-1] if len(values) else values.new_zeros(())


class ShardOfConcepts(AllConcepts):
    """Where each process holds a part; all of them make the same calls in the same order."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes

    def summed(self, part: Tensor) -> Tensor:
        """See `AllConcepts.summed`."""
        return _Summed.apply(part, self.processes)

    def count(self, own: Tensor) -> int:
        """See `AllConcepts.count`."""
        return int(self.processes.total(torch.full((), len(own), device=own.device)))

    def largest(self, before: Tensor, k: int) -> Tensor:
        """See `AllConcepts.largest`. The k largest of all are among the k largest of each; every process ranks the same candidates."""
        values, concepts = before.detach().topk(min(k, before.shape[1]), dim=-1)
        candidates = functional.pad(values, (0, k - values.shape[1]), value=-torch.inf)
        every = self.processes.gathered(candidates[None]).transpose(0, 1).flatten(1)
        chosen = torch.zeros_like(every, dtype=torch.bool).scatter(1, every.topk(k, dim=-1).indices, True)
        first = self.processes.rank * k
        tokens, ranks = chosen[:, first : first + values.shape[1]].nonzero(as_tuple=True)
        return tokens * before.shape[1] + concepts[tokens, ranks]

    def least_of_largest(self, values: Tensor, count: int) -> Tensor:
        """See `AllConcepts.least_of_largest`."""
        own = values.topk(min(count, len(values))).values
        every = self.processes.gathered(functional.pad(own, (0, count - len(own)), value=-torch.inf))
        return super().least_of_largest(every[every > -torch.inf], count)


class _Summed(torch.autograd.Function):
    """All-reduce forwards, the same gradient for every part backwards."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, processes: Processes) -> Tensor:  # noqa: ARG004
        return processes.total(part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradients[0], None
