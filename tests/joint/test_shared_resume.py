"""Resume points of processes that share a run: killed at any moment, a run goes on in as many processes, or in another number."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import debug_launcher
from safetensors.torch import load_file, save_file
from torch.multiprocessing.spawn import ProcessExitedException
from torch.utils._python_dispatch import TorchDispatchMode

from segcompass.joint.trainer import JointTrainer
from segcompass.optimisation import streamed_resume
from segcompass.optimisation.division import gathered
from segcompass.optimisation.processes import Processes
from segcompass.optimisation.streamed_resume import StreamedResumePoint
from tests.arithmetic import same_values
from tests.joint.shared_run import Silent, divide_weights, one_of_two, settings, trainer_of
from tests.tiny import tiny_joint

STEPS = 3


def fresh(processes: Processes) -> JointTrainer:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return trainer_of(tiny_joint().double(), settings(steps=STEPS, checkpoint_every=2), processes)


def run(folder: Path, processes: Processes, killed_at: int | None = None) -> None:
    trainer = fresh(processes)
    step = trainer._step

    def stepped(number: int, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        if number == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(number, optimiser)

    trainer._step = stepped  # type: ignore[method-assign]
    curve = trainer.run(folder, Silent()).curve
    rows = torch.tensor([[float(value) for value in row.values()] for row in curve], dtype=torch.float64)
    state = gathered(trainer.model.trained(), processes) | {"curve": rows}
    if processes.main:
        save_file({name: value.detach().contiguous() for name, value in state.items()}, folder / "end.safetensors")


def run_in_one_of_two(folder: Path, killed_at: int | None = None) -> None:
    run(folder, one_of_two(), killed_at)


def copied(folder: Path, to: Path) -> Path:
    """The resume folder, with what a kill leaves behind that comes while the next point is written."""
    to.mkdir()
    for path in folder.rglob("*"):
        target = to / path.relative_to(folder)
        target.mkdir(exist_ok=True) if path.is_dir() else target.write_bytes(path.read_bytes())
    (to / "joint-3").mkdir()
    (to / "joint-3" / "shard-00001-model-00001-of-00001.safetensors").write_bytes(b"cut")
    (to / "joint.tmp").write_text("{")
    return to


@pytest.mark.numerical
@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("divided", [False, True], ids=["whole weights", "divided weights"])
def test_two_killed_processes_go_on_as_two_to_the_same_bytes_and_as_one_to_the_same_values(
    divided: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segcompass.joint.trainer.advantages", lambda rewards, scaled: np.tile([-1.0, 1.0], (len(rewards), 1)))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    if divided:
        divide_weights(monkeypatch)
    debug_launcher(run_in_one_of_two, (whole,), num_processes=2)
    with pytest.raises(ProcessExitedException):
        debug_launcher(run_in_one_of_two, (killed, 2), num_processes=2)
    assert json.loads((killed / "joint.json").read_text())["step"] == 2 and not (killed / "end.safetensors").exists()
    as_two, as_one = copied(killed, tmp_path / "two"), copied(killed, tmp_path / "one")
    debug_launcher(run_in_one_of_two, (as_two,), num_processes=2)
    run(as_one, Processes())
    expected, two, one = (load_file(folder / "end.safetensors") for folder in (whole, as_two, as_one))
    assert set(expected) == set(two) == set(one) and len(expected["curve"]) == STEPS
    for name, value in expected.items():
        assert torch.equal(two[name], value), name
        assert same_values(one[name], value), name
    for folder in (as_two, as_one):
        names = {path.name for path in folder.iterdir()}
        assert names == {"joint.json", "joint-3", "end.safetensors"}


class Allocated(TorchDispatchMode):
    """Counts the bytes of the memory that operations under it fill anew, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {value.untyped_storage().data_ptr() for value in args if isinstance(value, torch.Tensor)}
        found = function(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.untyped_storage().data_ptr() not in given:
            self.bytes += found.untyped_storage().nbytes()
        return found


def test_a_resume_point_is_written_and_read_file_by_file_without_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_resume, "FILE_BYTES", 1 << 16)
    trainer = fresh(Processes())
    trained = trainer.model.trained()
    optimiser = trainer.model.optimiser(trainer.settings.learning_rates)
    for value in trained.values():
        value.grad = torch.ones_like(value)
    optimiser.step()
    point = StreamedResumePoint(tmp_path, "joint", Processes())
    with Allocated() as spent:
        point.save(1, trained, optimiser, [])
    total = 3 * sum(value.numel() * value.element_size() for value in trained.values())
    files = sorted((tmp_path / "joint-1").iterdir())
    largest = max(value.numel() * value.element_size() for value in trained.values())
    assert sum(path.stat().st_size for path in files) == pytest.approx(total, rel=0.1)
    assert len(files) > 10 and max(path.stat().st_size for path in files) < max(1 << 16, largest) + (1 << 14)
    assert spent.bytes < 0.01 * total
    other = fresh(Processes())
    moments = other.model.optimiser(other.settings.learning_rates)
    point.load(other.model.trained(), moments)
    for name, value in trained.items():
        mine = other.model.trained()[name]
        assert torch.equal(mine, value) and all(
            torch.equal(moments.state[mine][key], state) for key, state in optimiser.state[value].items()
        )


def test_a_full_disk_is_told_and_leaves_the_point_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = fresh(Processes())
    trained, optimiser = trainer.model.trained(), trainer.model.optimiser(trainer.settings.learning_rates)
    point = StreamedResumePoint(tmp_path, "joint", Processes())
    point.save(1, trained, optimiser, [{"step": 0}])

    def full(*_: object, **__: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save", full)
    with pytest.raises(OSError, match="No space left"):
        point.save(2, trained, optimiser, [{"step": 0}, {"step": 1}])
    assert StreamedResumePoint(tmp_path, "joint", Processes()).load(trained, optimiser) == (1, [{"step": 0}])
