"""Two processes that share every batch end where one process ends that has the whole batch."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator, debug_launcher
from safetensors.torch import load_file, save_file

from segcompass.activations.cache import CacheReader
from segcompass.errors import InputError
from segcompass.optimisation.processes import Processes
from segcompass.sae.batchtopk import BatchTopKDictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import Trainer, train
from tests.arithmetic import same_training
from tests.sae.planted import SETTINGS

STEPS = 8


def held(least_cosine: float) -> Dictionary:
    dictionary = ReluL1Dictionary(8, 48, 0.05, 0.02)
    dictionary.hold_decoder(least_cosine)
    return dictionary


MAKE: dict[str, Callable[[], Dictionary]] = {
    "relu_l1": lambda: ReluL1Dictionary(8, 48, 0.05, 0.02),
    "topk": lambda: TopKDictionary(8, 48, 2, 1 / 32, 200),
    "frozen": lambda: held(1.0),
    "soft_frozen": lambda: held(0.99),
    "batchtopk": lambda: BatchTopKDictionary(8, 48, 2, 1 / 32, 200),
}


def trained(name: str, cache: Path, folder: Path, steps: int, processes: Processes | None) -> Dictionary:
    torch.manual_seed(0)
    dictionary = MAKE[name]()
    settings = SETTINGS.model_copy(update={"steps": steps, "checkpoint_every": 3})
    rows = train(dictionary, CacheReader(cache, 0.2, 0), settings, folder, processes)
    state = dictionary.state_dict() | {"curve": torch.tensor([list(row.values()) for row in rows], dtype=torch.float64)}
    rank = processes.rank if processes else 0
    save_file({key: value.contiguous() for key, value in state.items()}, folder / f"end{rank}.safetensors")
    return dictionary


def train_in_one_of_two(name: str, cache: Path, folder: Path, steps: int) -> None:
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    trained(name, cache, folder, steps, Processes(accelerator))


@pytest.mark.numerical
@pytest.mark.parametrize("name", ["relu_l1", "topk", "frozen", "soft_frozen"])
def test_two_processes_train_as_one_with_the_whole_batch(name: str, cache: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    trained(name, cache, one, STEPS, None)
    debug_launcher(train_in_one_of_two, (name, cache, two, STEPS), num_processes=2)
    expected = load_file(one / "end0.safetensors")
    for rank in range(2):
        found = load_file(two / f"end{rank}.safetensors")
        assert torch.equal(found["silent_for"], expected["silent_for"])
        for key in ("W_enc_T", "W_dec", "b_enc", "b_dec"):
            assert same_training(found[key], expected[key], SETTINGS.learning_rate * STEPS), key
        assert found["curve"].flatten().tolist() == pytest.approx(expected["curve"].flatten().tolist(), rel=1e-4, abs=1e-6)
    assert (expected["silent_for"] > 0).any() and (expected["silent_for"] == 0).any()
    if name == "topk":
        assert (expected["curve"][:, 2] > 0).any(), "some concepts were dead, so the counters entered the loss"


def test_batch_topk_keeps_one_threshold_for_all_processes(cache: Path, tmp_path: Path) -> None:
    debug_launcher(train_in_one_of_two, ("batchtopk", cache, tmp_path, STEPS), num_processes=2)
    first, second = (load_file(tmp_path / f"end{rank}.safetensors") for rank in range(2))
    assert first["least_active"] > 0
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_two_processes_go_on_from_a_resume_point_to_the_same_bytes(cache: Path, tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    whole.mkdir()
    parted.mkdir()
    debug_launcher(train_in_one_of_two, ("topk", cache, whole, STEPS), num_processes=2)
    (whole / "sae.safetensors").rename(parted / "sae.safetensors")  # of step 6
    debug_launcher(train_in_one_of_two, ("topk", cache, parted, STEPS), num_processes=2)
    assert (whole / "end0.safetensors").read_bytes() == (parted / "end0.safetensors").read_bytes()


def test_a_batch_that_the_processes_cannot_share_is_one_sentence() -> None:
    three = Processes()
    three.count = 3
    with pytest.raises(InputError, match=r"sae_training\.batch_tokens: is 64, which 3 processes cannot share evenly"):
        Trainer(MAKE["topk"](), SETTINGS, three)


def test_fewer_processes_than_were_started_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = Accelerator(cpu=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="WORLD_SIZE: is 2, but accelerate runs in 1"):
        Processes(accelerator)
