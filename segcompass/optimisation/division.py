"""Weights divided among the processes of a run (FSDP2): each stores its rows of them, of their gradients and of an optimiser's moments.

A unit is a module whose weights are gathered from all processes when it runs, and given back when it has run. Passes run through every
unit alike in all processes and in the same order, or they wait for each other for ever: who calls one, calls it everywhere.
Units are roots of their own, because blocks are called one by one (backbone/split.py) and no forward pass of the whole model exists that
could be the root; accelerate's own `prepare` needs one, so `fully_shard` is called here.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from segcompass.optimisation.processes import Processes

Unit = tuple[nn.Module, torch.dtype | None]
"""A module and the type that its weights are gathered in; None: that in which they are stored."""


def divide(units: Iterable[Unit], processes: Processes) -> None:
    """Divides the weights of units, inner ones first, by rows; they and their buffers move to the processes' device, unit by unit.

    Gradients become means over the processes, added up in float32. Each process cuts its parts out of what it holds; none is sent.
    """
    assert processes.mesh is not None
    for module, dtype in units:
        policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
        fully_shard(module, mesh=processes.mesh, reshard_after_forward=True, mp_policy=policy)


def forget_passes(module: nn.Module) -> None:
    """Forgets the order of passes between two steps; of units that no backward pass reaches it would grow for ever."""
    for part in outermost(module):
        part.reset_iter_state()


def outermost(module: nn.Module) -> list[FSDPModule]:
    """The divided modules in `module` that lie in no other."""
    if isinstance(module, FSDPModule):
        return [module]
    return [found for child in module.children() for found in outermost(child)]


def whole(tensor: Tensor) -> Tensor:
    """A tensor from the parts of all processes, which ask for it together; one that is not divided is itself."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, Tensor], processes: Processes) -> dict[str, Tensor]:
    """Whole tensors by name, on the processor of the main process; the others, which ask for them as well, get none.

    One at a time is whole where the weights are.
    """
    found = {}
    for name, value in tensors.items():
        full = whole(value.detach())
        if processes.main:
            found[name] = full.cpu()
    return found


def stored_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes that this process stores of some tensors: all, or its parts."""
    local = [value.to_local() if isinstance(value, DTensor) else value for value in tensors]
    return sum(value.numel() * value.element_size() for value in local)
