"""Weighted sums of rows, the one operation of every product with sparse codes, on whatever device the rows lie.

Two ways, which tests hold equal:
* bags: `embedding_bag`, whose kernel on the CPU adds rows as it reads them;
* matrix: a product of a compressed sparse matrix, which on CUDA is cuSPARSE's. There `embedding_bag` gives a sum to one group of threads,
  which adds its rows one after another: a concept that is active on every token of a batch would hold up all others.
Neither makes anything of size [n, d], neither adds in an order that changes from run to run. `benchmarks/sae.py --device cuda` times both;
the choice for CUDA follows from the sentence above and was not yet measured on a card.
"""

import warnings

import torch
from torch import Tensor
from torch.nn import functional


def weighted_sums(rows: Tensor, places: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Sum b of the rows [m, d] `places[starts[b]:starts[b + 1]]`, each times its weight: [B, d], zero where there is none.

    Args:
        rows: [m, d].
        places: int64 [n], rows that are added, sum by sum.
        starts: int64 [B], where each sum's part of `places` begins; the last one ends at n.
        weights: [n].
    """
    way = sums_by_matrix if rows.is_cuda else sums_by_bags
    return way(rows, places, starts, weights)


def sums_by_bags(rows: Tensor, places: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """See `weighted_sums`."""
    return functional.embedding_bag(places, rows, starts, mode="sum", per_sample_weights=weights)


def sums_by_matrix(rows: Tensor, places: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """See `weighted_sums`; the same as the product of the matrix [B, m] that holds the weights."""
    bounds = functional.pad(starts, (0, 1), value=len(places))
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # that this layout of torch is young
        matrix = torch.sparse_csr_tensor(bounds, places, weights, (len(starts), len(rows)), check_invariants=False)
    return matrix @ rows
