"""Training: planted structure is found, the scale is folded away, a killed run ends with the same bytes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segcompass.activations.cache import CacheReader
from segcompass.activations.typed_sample import sample_by_type
from segcompass.sae.batchtopk import BatchTopKDictionary
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.metrics import held_out_metrics
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import train
from segcompass.sae.untrained import UntrainedDictionary, fit_scale
from tests.arithmetic import same_sums
from tests.sae.planted import SETTINGS

MAKE = {
    "relu_l1": lambda: ReluL1Dictionary(8, 24, 0.05),
    "topk": lambda: TopKDictionary(8, 24, 3, 1 / 32, 2000),
    "batchtopk": lambda: BatchTopKDictionary(8, 24, 3, 1 / 32, 2000),
    "jumprelu": lambda: JumpReluDictionary(8, 24, 0.02, 0.5, 0.3),
    "dense": lambda: DenseDictionary(8, 24),
}


@pytest.mark.parametrize("name", list(MAKE))
def test_every_architecture_finds_planted_structure(name: str, cache: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reader = CacheReader(cache, 0.2, 0)
    dictionary: Dictionary = MAKE[name]()
    before = {key: value.detach().clone() for key, value in dictionary.named_parameters()}
    rows = train(dictionary, reader, SETTINGS.model_copy(update={"steps": 300}), tmp_path)
    assert all(not torch.equal(value, before[key]) for key, value in dictionary.named_parameters())
    assert np.mean([row["mse"] for row in rows[-10:]]) < 0.6 * np.mean([row["mse"] for row in rows[:10]])
    control = UntrainedDictionary(8, 24)
    sample = sample_by_type(reader, 400)
    control.match_sparsity(sample, dict.fromkeys(range(3), 3.0))
    fit_scale(control, sample)
    trained, random = (held_out_metrics(each, reader.held_out())["all"]["explained_variance"] for each in (dictionary, control))
    assert trained > random + 0.2


def test_unit_rows_keep_one_norm_and_free_rows_do_not(cache: Path, tmp_path: Path) -> None:
    spreads = {}
    for rule in ("unit", "free"):
        torch.manual_seed(0)
        dictionary = MAKE["relu_l1"]()
        (tmp_path / rule).mkdir()
        train(dictionary, CacheReader(cache, 0.2, 0), SETTINGS.model_copy(update={"decoder_norm": rule}), tmp_path / rule)
        norms = dictionary.W_dec.norm(dim=1)
        spreads[rule] = float((norms.max() - norms.min()) / norms.mean())
    assert spreads["unit"] < 1e-4 < 1e-2 < spreads["free"]


@pytest.mark.numerical
def test_folding_the_scale_keeps_the_codes() -> None:
    torch.manual_seed(0)
    dictionary, x = ReluL1Dictionary(4, 9, 0.1), torch.randn(7, 4)
    codes, reconstruction = dictionary.encode(x / 3).detach(), dictionary.decode(dictionary.encode(x / 3)).detach() * 3
    dictionary.fold_scale(3.0)
    assert same_sums(dictionary.encode(x), codes, terms=4)
    assert same_sums(dictionary.decode(dictionary.encode(x)), reconstruction, terms=9, layers=2)


def test_a_checkpoint_is_what_the_whole_training_has_come_to(cache: Path, tmp_path: Path) -> None:
    """Broken off after 20 of 60 steps: the curve's first 20 rows, and resumed from there, the same end."""
    curves, ends = {}, {}
    for name, stop_after in (("whole", None), ("part", 20)):
        torch.manual_seed(0)
        dictionary = MAKE["relu_l1"]()
        (tmp_path / name).mkdir()
        curves[name] = train(dictionary, CacheReader(cache, 0.2, 0), SETTINGS, tmp_path / name, None, stop_after)
    assert len(curves["whole"]) == 60 and curves["part"] == curves["whole"][:20]
    for name in ("whole", "part"):  # its resume point of step 20 goes on to the end
        dictionary = MAKE["relu_l1"]()
        train(dictionary, CacheReader(cache, 0.2, 0), SETTINGS, tmp_path / name)
        ends[name] = dictionary.state_dict()
    assert all(torch.equal(value, ends["part"][key]) for key, value in ends["whole"].items())
