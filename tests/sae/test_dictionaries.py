"""Dictionaries by hand, their checkpoints, their training and its resumption."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segcompass.activations.cache import CacheReader, CacheWriter
from segcompass.errors import InputError
from segcompass.sae.checkpoint import load_dictionary, mean_l0, save_dictionary
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.dictionary import squared_error
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import held_out_metrics, train
from segcompass.sae.untrained import UntrainedDictionary
from segcompass.study.concepts import SaeTrainingSettings

SETTINGS = SaeTrainingSettings(
    seed=0,
    steps=60,
    batch_tokens=64,
    learning_rate=3e-3,
    warmup_fraction=0.03,
    final_fraction=0.1,
    clip_norm=1.0,
    held_out_fraction=0.2,
    buffer_tokens=512,
    checkpoint_every=20,
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """1,200 tokens that are sparse sums of 12 planted directions in 8 dimensions, 30 images."""
    folder = tmp_path / "activations"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(12, 8, generator=generator), dim=1)
    writer = CacheWriter(folder, 2, 8, "float32", 500)
    for image in range(30):
        weights = torch.rand(40, 12, generator=generator) * (torch.rand(40, 12, generator=generator) < 0.15)
        types = torch.arange(40) % 3
        writer.add(f"s{image}", f"i{image}.jpg", weights @ directions, torch.arange(40), types)
    assert writer.close() == 1200
    return folder


def test_squared_error_is_summed_over_width_and_averaged_over_tokens() -> None:
    assert squared_error(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2, 2)) == pytest.approx(2.5)


def test_relu_l1_by_hand() -> None:
    dictionary = ReluL1Dictionary(2, 3, 0.5).requires_grad_(False)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]))
        dictionary.b_enc.copy_(torch.tensor([0.0, -1.0, 0.0]))
        dictionary.W_dec.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]))
    x = torch.tensor([[2.0, 3.0]])
    # Codes relu(2, 3 - 1, -2) = (2, 2, 0); reconstruction (2, 2); error (3 - 2)^2 = 1; L1 0.5 * (2 + 2) with unit rows.
    assert dictionary.encode(x).tolist() == [[2.0, 2.0, 0.0]]
    losses = dictionary.losses(x)
    assert float(losses["mse"]) == pytest.approx(1.0)
    assert sum(float(value) for name, value in losses.items() if name != "mse") == pytest.approx(2.0)


def test_topk_keeps_k_and_only_positive() -> None:
    dictionary = TopKDictionary(2, 3, 2, 0.0, 10)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
        dictionary.b_enc.zero_()
    assert dictionary.encode(torch.tensor([[1.0, 0.0]])).tolist() == [[0.0, 2.0, 3.0]]
    assert (dictionary.encode(torch.tensor([[-1.0, 0.0]])) == 0).all()


def test_untrained_control_matches_the_sparsity() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 16)
    control = UntrainedDictionary(16, 64)
    control.match_sparsity(x, 6.0)
    assert mean_l0(control, x) == pytest.approx(6.0, rel=0.15)


def test_training_recovers_planted_structure_better_than_the_control(cache: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reader = CacheReader(cache, 0.2, 0)
    dictionary = TopKDictionary(8, 24, 3, 1 / 32, 2000)
    (tmp_path / "resume").mkdir()
    before = {name: value.detach().clone() for name, value in dictionary.named_parameters()}
    rows = train(dictionary, reader, SETTINGS, tmp_path / "resume")
    assert all(not torch.equal(value, before[name]) for name, value in dictionary.named_parameters())
    assert np.mean([row["mse"] for row in rows[-10:]]) < 0.6 * np.mean([row["mse"] for row in rows[:10]])
    control = UntrainedDictionary(8, 24)
    control.match_sparsity(next(reader.batches(256, 512, 0)), 3.0)
    trained, random = (held_out_metrics(d, reader)["all"]["explained_variance"] for d in (dictionary, control))
    assert trained > random + 0.2
    norms = dictionary.W_dec.norm(dim=1)
    assert torch.allclose(norms, norms[:1].expand(24), rtol=1e-4), "rows have one norm, the folded scale"


@pytest.mark.parametrize("stop", [25, 40])
def test_a_killed_training_resumes_to_the_same_bytes(cache: Path, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for name in ("whole", "killed"):
        torch.manual_seed(0)
        dictionary = TopKDictionary(8, 24, 3, 1 / 32, 2000)
        (tmp_path / name).mkdir()
        if name == "killed":
            steps = iter(range(10_000))
            step = torch.optim.AdamW.step

            def fails(self, *parts, steps=steps, step=step, **named):  # type: ignore[no-untyped-def]
                if next(steps) == stop:
                    raise KeyboardInterrupt
                return step(self, *parts, **named)

            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(torch.optim.AdamW, "step", fails)
                train(dictionary, CacheReader(cache, 0.2, 0), SETTINGS, tmp_path / name)
            torch.manual_seed(0)
            dictionary = TopKDictionary(8, 24, 3, 1 / 32, 2000)
        rows = train(dictionary, CacheReader(cache, 0.2, 0), SETTINGS, tmp_path / name)
        results.append((rows, {key: value.detach().clone() for key, value in dictionary.named_parameters()}))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(value, results[1][1][key]) for key, value in results[0][1].items())


@pytest.mark.parametrize(
    "make", [lambda: ReluL1Dictionary(8, 24, 0.1), lambda: TopKDictionary(8, 24, 3, 0.0, 9), lambda: DenseDictionary(8, 24)]
)
def test_checkpoints_round_trip(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    dictionary = make()
    dictionary.hook_layer = 3
    save_dictionary(dictionary, tmp_path)
    loaded = load_dictionary(tmp_path)
    x = torch.randn(20, 8)
    assert torch.equal(loaded.encode(x), dictionary.encode(x)) and loaded.hook_layer == 3
    assert torch.equal(loaded.decode(loaded.encode(x)), dictionary.decode(dictionary.encode(x)))
    (tmp_path / "cfg.json").write_text("{}")
    with pytest.raises(InputError, match="no checkpoint"):
        load_dictionary(tmp_path)


def test_folding_the_scale_keeps_the_codes() -> None:
    torch.manual_seed(0)
    dictionary, x = ReluL1Dictionary(4, 9, 0.1), torch.randn(7, 4)
    codes, reconstruction = dictionary.encode(x / 3).detach(), dictionary.decode(dictionary.encode(x / 3)).detach() * 3
    dictionary.fold_scale(3.0)
    assert torch.allclose(dictionary.encode(x), codes, atol=1e-6)
    assert torch.allclose(dictionary.decode(dictionary.encode(x)), reconstruction, atol=1e-5)
