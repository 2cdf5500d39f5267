"""How far two right ways of computing the same numbers may lie apart.

A sum of n products that is added up in another order, or with other instructions, ends elsewhere by roundings of its partial sums: each
is at most half an epsilon of the partial sum, and they add up like a random walk, so about sqrt(n) epsilons of the largest entry. A
network passes that on from layer to layer, and a gradient goes through them twice. So distances are counted in epsilons of the tensor's
largest entry: entries far below it have fewer digits of their own, and a bound that is absolute says nothing where all entries are small.

Measured on the comparisons of these tests, under `default`, `avx2` and all instructions of a processor with AVX-512: at most 0.7 of
sqrt(n) a layer.
"""

import math

import torch
from torch import Tensor

MARGIN = 4.0
"""Over sqrt(n): more than five times what was measured."""


def epsilons(found: Tensor, expected: Tensor, scale: float | None = None) -> float:
    """Largest difference, in float32 epsilons of `scale`, or of the largest entry that is expected."""
    assert found.shape == expected.shape and found.isfinite().all() and expected.isfinite().all()
    found, expected = found.detach().double(), expected.detach().double()
    scale = float(expected.abs().max()) if scale is None else scale
    difference = float((found - expected).abs().max())
    return difference / (scale * torch.finfo(torch.float32).eps) if difference else 0.0


def same_sums(found: Tensor, expected: Tensor, terms: int, layers: int = 1, scale: float | None = None) -> bool:
    """Whether two tensors are the same sums of `terms` products, `layers` of them behind each other, up to the order of adding."""
    return epsilons(found, expected, scale) <= MARGIN * layers * math.sqrt(terms)


def same_in_half(found: Tensor, expected: Tensor) -> bool:
    """Whether `found` is what was kept of `expected` in float16, which rounds an entry by half an epsilon of it, far above float32's."""
    half = torch.finfo(torch.float16).eps / 2
    return bool(((found - expected).abs() <= half * (expected.abs() + 0.01 * expected.abs().max())).all())


def same_training(found: Tensor, expected: Tensor, travelled: float) -> bool:
    """Whether two trainings with AdamW went the same way.

    AdamW divides by the gradient's own size, so an entry whose gradient is all but rounding goes anywhere within its learning rate, and no
    bound on the worst entry is both sure to hold and able to fail. Over a tensor such entries are few: the root mean square of the
    difference is below a hundredth of `travelled`, learning rate times steps. Measured on two processes against one, with the instructions
    of torch, MKL and oneDNN in four mixtures: at most 0.00025. Two that do not average their gradients end 0.5 apart in the median
    tensor, and above the bound in 169 of 201.
    """
    return float((found - expected).double().square().mean().sqrt()) <= 0.01 * travelled


def same_values(found: Tensor, expected: Tensor) -> bool:
    """Whether two float64 computations end alike: six digits above the rounding of either, seven below the size of the values."""
    return bool(((found - expected).abs() <= 1e-8 * (1 + expected.abs().max())).all())
