"""A dictionary computes the same on every device: by either way of adding rows, on `meta` in shape, and on CUDA where there is one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segcompass.activations.cache import CacheReader
from segcompass.activations.typed_sample import sample_by_type
from segcompass.backbone.runtime import prepare_torch, usable_device
from segcompass.errors import InputError
from segcompass.sae.batchtopk import BatchTopKDictionary
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.metrics import held_out_metrics
from segcompass.sae.neurons import NeuronDictionary
from segcompass.sae.pca import PcaDictionary
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.row_sums import sums_by_bags, sums_by_matrix
from segcompass.sae.selection import largest
from segcompass.sae.sparse_codes import Places, decode_sparse
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import train
from segcompass.sae.untrained import untrained_twin
from tests.arithmetic import same_sums
from tests.sae.planted import SETTINGS

MAKE: dict[str, Callable[[], Dictionary]] = {
    "relu_l1": lambda: ReluL1Dictionary(8, 48, 0.05, 0.02, 0.1, 200),
    "topk": lambda: TopKDictionary(8, 48, 2, 1 / 32, 200),
    "batchtopk": lambda: BatchTopKDictionary(8, 48, 2, 1 / 32, 200),
    "jumprelu": lambda: JumpReluDictionary(8, 48, 0.02, 0.5, 0.3, 0.1, 200),
    "dense": lambda: DenseDictionary(8, 48),
}
WAYS = {"bags": sums_by_bags, "matrix": sums_by_matrix}
cuda = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"))


def curve(name: str, cache: Path, folder: Path, device: str) -> tuple[Tensor, dict[str, float]]:
    """The curve [steps, columns] of eight steps, and held-out metrics."""
    torch.manual_seed(0)
    dictionary = MAKE[name]().to(device)
    folder.mkdir()
    reader = CacheReader(cache, 0.2, 0)
    rows = train(dictionary, reader, SETTINGS.model_copy(update={"steps": 8}), folder)
    return torch.tensor([list(row.values()) for row in rows], dtype=torch.float64), held_out_metrics(dictionary, reader.held_out())["all"]


@pytest.mark.parametrize("device", ["cpu", cuda])
@pytest.mark.parametrize("way", list(WAYS))
def test_sums_are_those_that_are_written_out(way: str, device: str) -> None:
    rows = torch.tensor([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]], device=device)
    # Sum 0: 3 * row 2 - row 0; sum 1: nothing; sum 2: row 1 twice, in two places.
    places, starts = torch.tensor([2, 0, 1, 1], device=device), torch.tensor([0, 2, 2], device=device)
    found = WAYS[way](rows, places, starts, torch.tensor([3.0, -1.0, 1.0, 1.0], device=device))
    assert found.tolist() == [[299.0, 598.0], [0.0, 0.0], [20.0, 40.0]]


@pytest.mark.numerical
@pytest.mark.parametrize("device", ["cpu", cuda])
def test_both_ways_add_the_same_rows(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 9, (40,), generator=generator)
    places = torch.randint(0, 30, (int(counts.sum()),), generator=generator).to(device)
    rows, weights = torch.randn(30, 16, generator=generator).to(device), torch.randn(len(places), generator=generator).to(device)
    starts = (counts.cumsum(0) - counts).to(device)
    assert same_sums(sums_by_matrix(rows, places, starts, weights), sums_by_bags(rows, places, starts, weights), terms=8)


@pytest.mark.numerical
@pytest.mark.parametrize("name", ["relu_l1", "topk", "batchtopk", "jumprelu"])
def test_training_goes_the_same_way_by_either(name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []

    def counted(*given: Tensor) -> Tensor:
        used.append(len(given[1]))
        return sums_by_matrix(*given)

    expected, held_out = curve(name, cache, tmp_path / "bags", "cpu")
    monkeypatch.setattr("segcompass.sae.sparse_codes.weighted_sums", counted)
    found, other = curve(name, cache, tmp_path / "matrix", "cpu")
    assert len(used) >= 3 * 8 and max(used) > 0, "decoding and two gradients, every step"
    assert found.flatten().tolist() == pytest.approx(expected.flatten().tolist(), rel=1e-4, abs=1e-6)
    assert other == pytest.approx(held_out, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("device", [cuda])
@pytest.mark.parametrize("name", list(MAKE))
def test_training_on_a_card_goes_the_same_way(name: str, device: str, cache: Path, tmp_path: Path) -> None:
    prepare_torch(1, 0)
    expected, held_out = curve(name, cache, tmp_path / "cpu", "cpu")
    found, other = curve(name, cache, tmp_path / device, device)
    assert found.flatten().tolist() == pytest.approx(expected.flatten().tolist(), rel=1e-4, abs=1e-6)
    assert other == pytest.approx(held_out, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("device", ["cpu", cuda])
def test_controls_are_made_where_the_trained_one_lies(device: str, cache: Path) -> None:
    sample = sample_by_type(CacheReader(cache, 0.2, 0), 200).to(torch.device(device))
    for like in (MAKE["topk"](), MAKE["jumprelu"]()):
        torch.manual_seed(0)
        twin = untrained_twin(like.to(device), sample)
        assert twin.W_dec.device.type == device and (twin.encode(sample.hidden) != 0).any()


@pytest.mark.parametrize("make", [*MAKE.values(), lambda: NeuronDictionary(8, 3), lambda: PcaDictionary(8, 5)])
def test_on_meta_every_shape_is_known(make: Callable[[], Dictionary]) -> None:
    dictionary, x = make().to("meta"), torch.zeros(7, 8, device="meta")
    codes = dictionary.encode(x)
    assert codes.is_meta and codes.shape == (7, dictionary.features) and dictionary.decode(codes).shape == (7, 8)
    dictionary.start_at(x, x.mean(0))
    dictionary.count_silent(torch.zeros(dictionary.features, dtype=torch.int64, device="meta"), 7)
    dictionary.after_step()


def test_on_meta_the_sparse_products_have_their_shapes() -> None:
    starts = torch.zeros(7, dtype=torch.int64, device="meta")
    rows, places, weights = (torch.zeros(48, 8), torch.zeros(21, dtype=torch.int64), torch.zeros(21))
    assert sums_by_bags(rows.to("meta"), places.to("meta"), starts, weights.to("meta")).shape == (7, 8)
    assert largest(torch.zeros(7, 64, device="meta"), 2).shape == largest(torch.zeros(7, 60, device="meta"), 2).shape == (14,)


@pytest.mark.parametrize("device", ["cpu", cuda])
def test_gradients_of_a_product_are_those_of_the_dense_one(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 10, generator=generator) * (torch.rand(6, 10, generator=generator) < 0.4)
    tokens, concepts = z.nonzero(as_tuple=True)
    decoder, wanted = torch.randn(10, 4, generator=generator), torch.randn(6, 4, generator=generator)
    found, expected = (decoder.to(device).requires_grad_() for _ in range(2))
    places = Places(concepts.to(device), torch.bincount(tokens, minlength=6).to(device), 10)
    values, dense = z[tokens, concepts].to(device).requires_grad_(), z.to(device).requires_grad_()
    ((decode_sparse(values, places, found) - wanted.to(device)) ** 2).sum().backward()
    ((dense @ expected - wanted.to(device)) ** 2).sum().backward()
    assert found.grad is not None and expected.grad is not None and values.grad is not None and dense.grad is not None
    assert same_sums(found.grad, expected.grad, terms=10, layers=2)
    assert same_sums(values.grad, dense.grad[tokens, concepts], terms=10, layers=2)


def test_a_device_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert usable_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match=r"runtime\.device: is `cuda`, but torch finds no such device here; set it to `cpu`"):
        usable_device("cuda")
