"""Two processes that divide the concepts of a dictionary end where one process ends that holds all of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator, debug_launcher
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file

from segcompass.activations.cache import CacheReader
from segcompass.errors import InputError
from segcompass.optimisation.processes import Processes
from segcompass.sae.batchtopk import BatchTopKDictionary
from segcompass.sae.dense import DenseDictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.feature_shards import AllConcepts, ShardOfConcepts
from segcompass.sae.jumprelu import JumpReluDictionary
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import Trainer, train
from tests.arithmetic import same_training
from tests.sae.planted import SETTINGS

STEPS = 8


@pytest.fixture(autouse=True)
def no_accelerator() -> None:
    """Accelerate keeps one state a process, which forked processes inherit; a test before may have left one of a single process."""
    AcceleratorState._reset_state(reset_partial_state=True)


def held(least_cosine: float) -> Dictionary:
    dictionary = ReluL1Dictionary(8, 48, 0.05, 0.02)
    dictionary.hold_decoder(least_cosine)
    return dictionary


MAKE: dict[str, Callable[[], Dictionary]] = {
    "relu_l1": lambda: ReluL1Dictionary(8, 48, 0.05, 0.02, 0.1, 64),
    "relu_l1_dense": lambda: ReluL1Dictionary(8, 48, 0.05, 0.5),
    "topk": lambda: TopKDictionary(8, 48, 2, 1 / 32, 200),
    "topk_wide": lambda: TopKDictionary(8, 48, 30, 1 / 32, 200),  # more than a process holds
    "batchtopk": lambda: BatchTopKDictionary(8, 48, 2, 1 / 32, 200),
    "jumprelu": lambda: JumpReluDictionary(8, 48, 0.02, 0.5, 1.5, 0.1, 64),
    "dense": lambda: DenseDictionary(8, 48),
    "frozen": lambda: held(1.0),
    "soft_frozen": lambda: held(0.99),
}


def trained(name: str, cache: Path, folder: Path, steps: int, processes: Processes | None) -> None:
    torch.manual_seed(0)
    dictionary = MAKE[name]()
    divided: list[bool] = []
    step = Trainer.step

    def watched(trainer: Trainer, number: int, x: torch.Tensor) -> dict[str, object]:
        divided.append(trainer.dictionary.features == 24 and isinstance(trainer.dictionary.concepts, ShardOfConcepts))
        return step(trainer, number, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segcompass.sae.training.DIVIDED_FROM", 48)
        patch.setattr(Trainer, "step", watched)
        settings = SETTINGS.model_copy(update={"steps": steps, "checkpoint_every": 3})
        rows = train(dictionary, CacheReader(cache, 0.2, 0), settings, folder, processes)
    assert set(divided) <= {processes is not None} and dictionary.features == 48 and type(dictionary.concepts) is AllConcepts
    state = dictionary.state_dict() | {"curve": torch.tensor([list(row.values()) for row in rows], dtype=torch.float64)}
    rank = processes.rank if processes else 0
    save_file({key: value.contiguous() for key, value in state.items()}, folder / f"end{rank}.safetensors")


def train_in_one_of_two(name: str, cache: Path, folder: Path, steps: int) -> None:
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    trained(name, cache, folder, steps, Processes(accelerator))


@pytest.mark.numerical
@pytest.mark.parametrize("name", list(MAKE))
def test_two_processes_train_as_one_that_holds_all_concepts(name: str, cache: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    trained(name, cache, one, STEPS, None)
    debug_launcher(train_in_one_of_two, (name, cache, two, STEPS), num_processes=2)
    expected, first, second = (load_file(path) for path in (one / "end0.safetensors", two / "end0.safetensors", two / "end1.safetensors"))
    assert all(torch.equal(first[key], second[key]) for key in first), "what is joined, and the shared bias, are one dictionary"
    assert torch.equal(first["silent_for"], expected["silent_for"])
    for key in first.keys() - {"silent_for", "curve"}:
        assert same_training(first[key], expected[key], SETTINGS.learning_rate * STEPS), key
    assert first["curve"].flatten().tolist() == pytest.approx(expected["curve"].flatten().tolist(), rel=1e-5, abs=1e-6)
    if name in ("topk", "batchtopk"):
        assert (expected["curve"][:, 2] > 0).any(), "some concepts were dead, so the auxiliary loss ranked them over both processes"
    if name in ("relu_l1", "jumprelu"):
        assert (expected["curve"][:, 3] > 0).any(), "some concepts were dead"


def test_a_divided_run_goes_on_to_the_same_bytes_and_in_one_process(cache: Path, tmp_path: Path) -> None:
    whole, parted, alone, one = (tmp_path / name for name in ("whole", "parted", "alone", "one"))
    for folder in (whole, parted, alone, one):
        folder.mkdir()
    debug_launcher(train_in_one_of_two, ("topk", cache, whole, STEPS), num_processes=2)
    for folder in (parted, alone):
        (folder / "sae.safetensors").write_bytes((whole / "sae.safetensors").read_bytes())  # of step 6
    debug_launcher(train_in_one_of_two, ("topk", cache, parted, STEPS), num_processes=2)
    assert (whole / "end0.safetensors").read_bytes() == (parted / "end0.safetensors").read_bytes()
    trained("topk", cache, one, STEPS, None)
    kept, expected = load_file(whole / "sae.safetensors"), load_file(one / "sae.safetensors")
    assert {name: value.shape for name, value in kept.items()} == {name: value.shape for name, value in expected.items()}
    trained("topk", cache, alone, STEPS, None)
    found = load_file(alone / "end0.safetensors")["curve"]
    assert found.flatten().tolist() == pytest.approx(load_file(one / "end0.safetensors")["curve"].flatten().tolist(), rel=1e-5, abs=1e-6)


def rank_in_one_of_two(folder: Path) -> None:
    processes = Processes(Accelerator(cpu=True))
    before = torch.load(folder / "before.pt")
    places = ShardOfConcepts(processes).largest(before.chunk(2, dim=1)[processes.rank], 5)
    torch.save(places, folder / f"places{processes.rank}.pt")


def test_the_same_concepts_are_kept_however_they_lie(tmp_path: Path) -> None:
    before = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    before[0, :8] += 10.0  # all five on one process
    before[1, 8:] += 10.0
    torch.save(before, tmp_path / "before.pt")
    debug_launcher(rank_in_one_of_two, (tmp_path,), num_processes=2)
    found = torch.zeros(6, 16, dtype=torch.bool)
    for rank in range(2):
        places = torch.load(tmp_path / f"places{rank}.pt")
        assert (places // 8).diff().min() >= 0, "by ascending token"
        found[places // 8, 8 * rank + places % 8] = True
    assert torch.equal(found, torch.zeros(6, 16, dtype=torch.bool).scatter(1, before.topk(5, dim=1).indices, True))


def test_concepts_that_the_processes_cannot_share_are_one_sentence() -> None:
    five = Processes()
    five.count = 5
    with pytest.raises(InputError, match=r"saes: width: is 48, which 5 processes cannot share evenly; start as many as divide it"):
        MAKE["topk"]().divide(five)
