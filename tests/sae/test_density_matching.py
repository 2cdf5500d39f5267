"""Thresholds that match every type of token: densities by hand, and on tokens that were not seen."""

import pytest
import torch
from torch import Tensor

from segcompass.sae.density_matching import matched_thresholds

# Two concepts on two tokens of type 0 and two of type 2; the first prefers type 0, the second type 2.
DRIVES = torch.tensor([[4.0, 1.0], [3.0, 2.0], [2.0, 3.0], [1.0, 4.0]])
TYPES = torch.tensor([0, 0, 2, 2], dtype=torch.uint8)


def active(drives: Tensor, types: Tensor, thresholds: Tensor) -> dict[int, float]:
    fires = (drives > thresholds).float().sum(1)
    return {kind: float(fires[types == kind].mean()) for kind in types.unique().tolist()}


def test_densities_by_hand() -> None:
    # One active concept a token of either type: density 1 / 2, so each concept fires above the third of its four values.
    assert matched_thresholds(DRIVES, TYPES, {0: 1.0, 2: 1.0}).tolist() == pytest.approx([2.0, 2.0])
    # Half as many on type 2. Densities begin at (1 + 1 / 2) / 2 / 2 = 3 / 8, which pays for one token of four: L0 is 1 / 2 and 1 / 2. The
    # first concept prefers type 0; its density becomes 3 / 4, three tokens: L0 is 1 and 1 / 2 + 1 / 2. The second prefers type 2; its
    # density becomes 3 / 16, no token: L0 is 1 and 1 / 2.
    assert matched_thresholds(DRIVES, TYPES, {0: 1.0, 2: 0.5}).tolist() == pytest.approx([1.0, 4.0])


def test_one_type_is_one_density_for_all() -> None:
    drives = torch.randn(1000, 20, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 21) + 3
    thresholds = matched_thresholds(drives, torch.zeros(1000, dtype=torch.uint8), {0: 2.0})
    assert ((drives > thresholds).float().mean(0) == 0.1).all()


def test_tokens_of_types_that_are_not_asked_for_are_left_out() -> None:
    drives = torch.cat([DRIVES, torch.full((3, 2), 9.0)])
    types = torch.cat([TYPES, torch.full((3,), 255, dtype=torch.uint8)])
    assert matched_thresholds(drives, types, {0: 1.0, 2: 1.0}).tolist() == pytest.approx([2.0, 2.0])


def test_equal_drives_fire_together() -> None:
    drives = torch.tensor([[5.0], [5.0], [5.0], [1.0]])
    # A quarter of the tokens cannot fire alone.
    fires = (drives > matched_thresholds(drives, torch.zeros(4, dtype=torch.uint8), {0: 0.25}))[:, 0].tolist()
    assert fires[0] == fires[1] == fires[2]


def test_no_threshold_lies_below_zero() -> None:
    assert matched_thresholds(-DRIVES, TYPES, {0: 1.0, 2: 1.0}).tolist() == [0.0, 0.0]


def tokens(each: int, seed: int) -> tuple[Tensor, Tensor]:
    """Types of their own mean and spread in 24 dimensions."""
    generator, world = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    parts = []
    for spread in (1.0, 1.2, 0.8):
        mean, mix = torch.randn(24, generator=world), torch.randn(24, 24, generator=world) * spread / 24**0.5
        parts.append(mean + torch.randn(each, 24, generator=generator) @ mix)
    return torch.cat(parts), torch.arange(3, dtype=torch.uint8).repeat_interleave(each)


@pytest.mark.parametrize("wanted", [{0: 20.0, 1: 20.0, 2: 20.0}, {0: 20.0, 1: 10.0, 2: 20.0}, {0: 20.0, 1: 40.0, 2: 15.0}])
def test_unseen_tokens_of_every_type_are_within_5_percent(wanted: dict[int, float]) -> None:
    directions = torch.nn.functional.normalize(torch.randn(512, 24, generator=torch.Generator().manual_seed(5)), dim=1)
    x, types = tokens(2000, 0)
    centre = x.mean(0)
    drives = (x - centre) @ directions.T
    thresholds = matched_thresholds(drives, types, wanted)
    assert active(drives, types, thresholds) == pytest.approx(wanted, rel=3e-3)
    new, types = tokens(2000, 1)
    found = active((new - centre) @ directions.T, types, thresholds)
    assert found == pytest.approx(wanted, rel=0.05)
    # The control of one density for all tokens.
    overall = drives.quantile(1 - sum(wanted.values()) / 3 / 512, dim=0)
    plain = active((new - centre) @ directions.T, types, overall)
    assert max(abs(plain[kind] / wanted[kind] - 1) for kind in wanted) > 0.2


def test_what_no_densities_reach_is_approached() -> None:
    # Every token stands in both types, so both types always have the same L0.
    drives = torch.randn(200, 30, generator=torch.Generator().manual_seed(0))
    types = torch.arange(2, dtype=torch.uint8).repeat_interleave(200)
    found = active(drives.repeat(2, 1), types, matched_thresholds(drives.repeat(2, 1), types, {0: 2.0, 1: 4.0}))
    assert found[0] == found[1] and 2.0 < found[0] < 4.0
