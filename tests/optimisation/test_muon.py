"""Muon: orthogonal updates of the stated size for hidden matrices, AdamW for the rest."""

import pytest
import torch
from torch import nn

from segcompass.optimisation.muon import Muon, orthogonal
from tests.arithmetic import MARGIN, epsilons, same_sums

pytestmark = pytest.mark.numerical


def test_singular_values_come_near_one_and_directions_stay() -> None:
    matrices = torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(0))
    for given in (matrices, matrices.transpose(1, 2)):
        made = orthogonal(given)
        values = torch.linalg.svdvals(made)
        assert values.min() > 0.5 and values.max() < 1.3
        left, _, right = torch.linalg.svd(given, full_matrices=False)
        assert nn.functional.cosine_similarity(made.flatten(1), (left @ right).flatten(1)).min() > 0.95


@pytest.mark.parametrize("rank", [16, 3])
def test_long_matrices_end_where_the_plain_iteration_ends(rank: int) -> None:
    """Also where most singular values are nothing."""
    generator = torch.Generator().manual_seed(4)
    long = torch.randn(2, 16, rank, generator=generator) @ torch.randn(2, rank, 200, generator=generator)
    plain = long.double() / long.double().norm(dim=(1, 2), keepdim=True)
    for _ in range(5):
        gram = plain @ plain.transpose(1, 2)
        plain = 3.4445 * plain + (-4.7750 * gram + 2.0315 * gram @ gram) @ plain
    # A rounding in a direction that is absent grows as that direction would, 3.4445 ** 5 = 485 fold.
    assert epsilons(orthogonal(long), plain.float()) <= MARGIN * 485
    assert epsilons(orthogonal(long.transpose(1, 2)), plain.float().transpose(1, 2)) <= MARGIN * 485


def test_a_hidden_matrix_moves_by_a_step_of_the_stated_size() -> None:
    model = nn.Linear(64, 32)
    before = model.weight.detach().clone()
    optimiser = Muon(model.named_parameters(), learning_rate=0.1, matrix_learning_rate=0.01, weight_decay=0.0)
    model(torch.randn(8, 64, generator=torch.Generator().manual_seed(1))).square().sum().backward()
    optimiser.step()
    moved = (model.weight - before).detach()
    # The gradient of 8 rows has rank 8 of 32, so a quarter of the directions move: RMS 0.2 * rate / 2.
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.2 * 0.01 / 2, rel=0.2)


def test_everything_else_moves_as_adamw_moves_it() -> None:
    generator = torch.Generator().manual_seed(2)
    start = torch.randn(7, 5, generator=generator)
    ours, theirs = nn.Embedding(7, 5), nn.Embedding(7, 5)
    for table in (ours, theirs):
        table.weight.data.copy_(start)
    first = Muon([("embed_tokens.weight", ours.weight)], 0.05, 1.0, weight_decay=0.3)
    second = torch.optim.AdamW(theirs.parameters(), lr=0.05, betas=(0.9, 0.99), weight_decay=0.0)
    for _ in range(4):
        for table, optimiser in ((ours, first), (theirs, second)):
            optimiser.zero_grad()
            (table.weight - 1).pow(4).sum().backward()
            optimiser.step()
    assert same_sums(ours.weight, theirs.weight, terms=4)
