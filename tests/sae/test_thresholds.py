"""Batch top-k and JumpReLU: by hand, trained on planted structure, and as checkpoints."""

from pathlib import Path

import pytest
import torch

from segcompass.activations.cache import CacheReader
from segcompass.sae.batchtopk import BatchTopKDictionary
from segcompass.sae.checkpoint import load_dictionary, mean_l0, save_dictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.training import held_out_metrics, train
from tests.sae.test_dictionaries import SETTINGS, cache  # noqa: F401 - a fixture


def test_batch_topk_gives_tokens_what_they_need() -> None:
    dictionary = BatchTopKDictionary(2, 3, 1)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
        dictionary.b_enc.zero_()
        dictionary.W_dec.zero_()
    # Pre-activations (1, 2, 3) and (0.1, 0.2, 0.3); k * T = 2 largest are 3 and 2, both of the first token, so the least is 2.
    losses = dictionary.losses(torch.tensor([[1.0, 0.0], [0.1, 0.0]]))
    assert float(dictionary.least_active) == pytest.approx(2.0) and float(losses["mse"].detach()) == pytest.approx((1 + 0.01) / 2)
    assert dictionary.silent_for.tolist() == [2, 0, 0]
    assert dictionary.encode(torch.tensor([[1.0, 0.0]])).tolist() == [[0.0, 0.0, 3.0]], "alone, a token is cut at the running threshold"


def test_jumprelu_gradients_by_hand() -> None:
    dictionary = JumpReluDictionary(1, 2, l0_coefficient=1.0, bandwidth=0.5, initial_threshold=1.0)
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.ones(1, 2))
        dictionary.b_enc.copy_(torch.tensor([0.1, 5.0]))
        dictionary.W_dec.copy_(torch.tensor([[1.0], [0.0]]))
    losses = dictionary.losses(torch.tensor([[1.0]]))
    # Pre-activations 1.1 and 6: both active, L0 = 2; reconstruction 1.1, error 0.01.
    assert float(losses["l0"].detach()) == 2.0 and float(losses["mse"].detach()) == pytest.approx(0.01, abs=1e-6)
    losses["l0"].backward()
    # Only 1.1 lies within 0.25 of its threshold: -1 / 0.5.
    assert dictionary.threshold.grad is not None and dictionary.threshold.grad.tolist() == [-2.0, 0.0]
    dictionary.zero_grad()
    dictionary.losses(torch.tensor([[1.0]]))["mse"].backward()
    # d mse / d code = 2 (1.1 - 1) = 0.2; times -threshold / bandwidth = -2: -0.4.
    assert dictionary.threshold.grad[0] == pytest.approx(-0.4, abs=1e-5)


@pytest.mark.parametrize(
    "make",
    [lambda: BatchTopKDictionary(8, 24, 3, 1 / 32, 2000), lambda: JumpReluDictionary(8, 24, 0.02, 0.5, 0.3)],
    ids=["batchtopk", "jumprelu"],
)
def test_they_train_and_their_checkpoints_encode_the_same(make, cache: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    torch.manual_seed(0)
    dictionary: Dictionary = make()
    reader = CacheReader(cache, 0.2, 0)
    (tmp_path / "resume").mkdir()
    rows = train(dictionary, reader, SETTINGS, tmp_path / "resume")
    assert sum(row["mse"] for row in rows[-10:]) < 0.6 * sum(row["mse"] for row in rows[:10])
    save_dictionary(dictionary, tmp_path)
    loaded = load_dictionary(tmp_path)
    x = next(reader.batches(256, 512, 0))
    assert torch.equal(loaded.encode(x), dictionary.encode(x))
    assert held_out_metrics(loaded, reader)["all"]["explained_variance"] > 0.5
    assert 0 < mean_l0(loaded, x) < 24
