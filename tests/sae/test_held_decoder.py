"""Frozen and soft-frozen decoders: the cone by hand, what training may move, and that a stopped run ends with the same bytes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from segcompass.activations.cache import CacheReader
from segcompass.sae import relu_l1
from segcompass.sae.batchtopk import BatchTopKDictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.held_decoder import cosines_to, onto_cone
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import Trainer, train
from tests.sae.planted import SETTINGS

MAKE: dict[str, Callable[[], Dictionary]] = {
    "relu_l1": lambda: ReluL1Dictionary(8, 24, 0.05),
    "topk": lambda: TopKDictionary(8, 24, 3, 1 / 32, 2000),
    "batchtopk": lambda: BatchTopKDictionary(8, 24, 3, 1 / 32, 2000),
    "jumprelu": lambda: JumpReluDictionary(8, 24, 0.02, 0.5, 0.3),
}
UNSCALED = SETTINGS.model_copy(update={"activation_scale": "none", "steps": 200, "learning_rate": 1e-2})
"""Without a scale nothing is folded into the decoder, so that its bytes can be compared with the start's."""


def drawn(name: str, least_cosine: float | None) -> Dictionary:
    torch.manual_seed(0)
    dictionary = MAKE[name]()
    if least_cosine is not None:
        dictionary.hold_decoder(least_cosine)
    return dictionary


def test_the_cone_by_hand() -> None:
    axes = torch.tensor([[10.0, 0.0]]).expand(5, 2)
    rows = torch.tensor([[3.0, 4.0], [0.0, -2.0], [5.0, 1.0], [-3.0, 0.0], [-0.6, 0.8]])
    # c = 0.8, so sqrt(1 - c^2) = 0.6. Norm 5 at cosine 0.6: 5 (0.8, 0.6). Norm 2 at cosine 0: 2 (0.8, -0.6). (5, 1) has cosine 0.98.
    # (-3, 0) has no side to turn to. Norm 1 at cosine -0.6: (0.8, 0.6).
    expected = torch.tensor([[4.0, 3.0], [1.6, -1.2], [5.0, 1.0], [3.0, 0.0], [0.8, 0.6]])
    assert torch.allclose(onto_cone(rows, axes, 0.8), expected)
    assert torch.equal(onto_cone(rows, axes, 0.8)[2], rows[2]), "what lies within the cone keeps its bytes"


def test_the_edge_is_the_nearest_point_of_the_cone_at_the_same_norm() -> None:
    torch.manual_seed(0)
    rows, axes = torch.randn(20, 3, dtype=torch.float64), torch.randn(20, 3, dtype=torch.float64)
    found = onto_cone(rows, axes, 0.5)
    assert (cosines_to(found, axes) >= 0.5 - 1e-12).all() and torch.allclose(found.norm(dim=1), rows.norm(dim=1))
    assert (cosines_to(rows, axes) < 0.5).sum() >= 5, "some had to turn"
    points = functional.normalize(torch.randn(20_000, 3, dtype=torch.float64), dim=1)
    for row, axis, nearest in zip(rows, axes, found, strict=True):
        allowed = points[cosines_to(points, axis.expand_as(points)) >= 0.5] * row.norm()
        assert (nearest - row).norm() <= (allowed - row).norm(dim=1).min() + 1e-12


@pytest.mark.parametrize("name", list(MAKE))
def test_a_frozen_decoder_keeps_its_bytes_and_everything_else_learns(name: str, cache: Path, tmp_path: Path) -> None:
    dictionary = drawn(name, 1.0)
    before = {key: value.detach().clone() for key, value in dictionary.named_parameters()}
    rows = train(dictionary, CacheReader(cache, 0.2, 0), UNSCALED, tmp_path)
    after = dict(dictionary.named_parameters())
    assert torch.equal(after.pop("W_dec"), before["W_dec"])
    assert all(not torch.equal(value, before[key]) for key, value in after.items())
    assert sum(row["mse"] for row in rows[-10:]) < 0.8 * sum(row["mse"] for row in rows[:10])


@pytest.mark.parametrize("norm", ["unit", "free"])
@pytest.mark.parametrize("name", list(MAKE))
def test_a_soft_frozen_decoder_stays_on_its_cone(name: str, norm: str, cache: Path, tmp_path: Path) -> None:
    settings, cosines, norms = UNSCALED.model_copy(update={"decoder_norm": norm}), {}, {}
    for held in (0.95, None):
        dictionary = drawn(name, held)
        start = dictionary.W_dec.detach().clone()
        (tmp_path / str(held)).mkdir()
        train(dictionary, CacheReader(cache, 0.2, 0), settings, tmp_path / str(held))
        cosines[held], norms[held] = cosines_to(dictionary.W_dec, start), dictionary.W_dec.norm(dim=1)
    assert cosines[0.95].min() >= 0.95 - 1e-6 and cosines[None].min() < 0.94, "the same training turns a free decoder farther"
    assert (cosines[0.95] < 0.95 + 1e-4).any() and (cosines[0.95] > 0.951).any(), "some rows lie on the edge, some within"
    spread = norms[0.95].max() - norms[0.95].min()
    assert spread < 1e-5 if norm == "unit" else spread > 1e-2


@pytest.mark.parametrize("least_cosine", [1.0, 0.95])
def test_a_stopped_run_ends_with_the_same_bytes(least_cosine: float, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, step = SETTINGS.model_copy(update={"steps": 20, "checkpoint_every": 6}), Trainer.step
    reader = CacheReader(cache, 0.2, 0)
    for folder in ("whole", "stopped"):
        (tmp_path / folder).mkdir()
    whole = drawn("relu_l1", least_cosine)
    rows = train(whole, reader, settings, tmp_path / "whole")

    def stopping(trainer: Trainer, number: int, x: torch.Tensor) -> dict[str, object]:
        if number == 15:
            raise KeyboardInterrupt
        return step(trainer, number, x)

    monkeypatch.setattr(Trainer, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(drawn("relu_l1", least_cosine), reader, settings, tmp_path / "stopped")
    monkeypatch.setattr(Trainer, "step", step)
    resumed = drawn("relu_l1", least_cosine)
    assert train(resumed, reader, settings, tmp_path / "stopped") == rows
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())


@pytest.mark.parametrize("dense_above", [0.0, 1.0], ids=["dense products", "sparse products"])
def test_codes_get_the_same_gradient_through_a_frozen_decoder(dense_above: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relu_l1, "DENSE_ABOVE", dense_above)
    x, gradients = torch.randn(50, 8, generator=torch.Generator().manual_seed(1)), []
    for held in (None, 1.0):
        dictionary = drawn("relu_l1", held)
        losses, _ = dictionary.losses(x)
        torch.stack(list(losses.values())).sum().backward()
        gradients.append({key: value.grad for key, value in dictionary.named_parameters() if value.grad is not None})
    assert gradients[0].keys() - gradients[1].keys() == {"W_dec"}
    assert all(torch.equal(value, gradients[0][key]) for key, value in gradients[1].items())
