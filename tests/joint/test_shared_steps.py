"""Two processes that share every step's prompts, and maybe the policy's weights, end where one process ends that has them all."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import debug_launcher
from safetensors.torch import load_file, save_file
from torch import Tensor

from segcompass.backbone.generation import Running, SamplingModel
from segcompass.errors import InputError
from segcompass.footprint.memory import state_bytes
from segcompass.footprint.sizes import backbone_sizes
from segcompass.joint.model import JointModel
from segcompass.joint.rollouts import Answers
from segcompass.joint.trainer import JointTrainer
from segcompass.optimisation.division import gathered, stored_bytes
from segcompass.optimisation.processes import Processes
from segcompass.study.joint import JointSettings, LearningRates
from tests.arithmetic import same_values
from tests.joint.shared_run import FourPrompts, Silent, divide_weights, one_of_two, settings, trainer_of
from tests.tiny import micro_study, tiny_joint

RATE = 0.1
WATCHED = ("live_groups", "norm_language", "reward_format")
"""Columns of the curve that tests look at by themselves."""


def train(folder: Path, chosen: JointSettings, recomputed: bool, processes: Processes) -> None:
    """Leaves the curve, the trained weights and their last gradients behind; gathered ones with the first process alone."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = tiny_joint().double()
    model.vlm.gradient_checkpointing = recomputed
    rows = trainer_of(model, chosen, processes).run(folder, Silent()).curve
    values = [[float(value) for value in row.values()] for row in rows]
    state = {name: value.detach() for name, value in model.trained().items()}
    state |= {f"gradient.{name}": value.grad for name, value in model.trained().items() if value.grad is not None}
    state = gathered(state, processes) if processes.divided else state
    curve = {"curve": torch.tensor(values, dtype=torch.float64)}
    curve |= {name: torch.tensor([row[name] for row in rows]) for name in WATCHED}
    save_file({name: value.contiguous() for name, value in (state | curve).items()}, folder / f"end{processes.rank}.safetensors")


def train_in_one_of_two(folder: Path, chosen: JointSettings, recomputed: bool) -> None:
    train(folder, chosen, recomputed, one_of_two())


def plain_descent(model: JointModel, rates: LearningRates) -> torch.optim.SGD:
    """AdamW divides by a gradient's own size, so where a gradient is all but zero it would make rounding as large as a step."""
    groups = [{"params": parameters, "lr": RATE, "peak": RATE, "name": name} for name, parameters in model.parts().items() if parameters]
    return torch.optim.SGD(groups)


def by_its_words(answers: Answers) -> np.ndarray:
    """A form that holds by chance, but for the same words always alike: untrained answers all break the real one."""
    return np.array([int(ids.sum()) % 2 == 0 for ids in answers.rollouts.valid_ids])


REINFORCED = {"segmentation.weight": 0.0, "policy.advantages": "centred", "policy.reward.gated": False, "policy.kl": 0.0}
CASES = {
    "both losses": {},
    "rl_only": {"segmentation.weight": 0.0},
    "live groups": REINFORCED | {"policy.live_groups": True},
    "permuted rewards": REINFORCED | {"policy.rewards": "permuted"},
}


@pytest.mark.numerical
@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("divided", [False, True], ids=["whole weights", "divided weights"])
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one_with_all_prompts(case: str, divided: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if case in ("both losses", "rl_only"):
        # Untrained answers are all worth nothing; the policy learns from advantages that are given.
        monkeypatch.setattr("segcompass.joint.trainer.advantages", lambda rewards, scaled: np.tile([-1.0, 1.0], (len(rewards), 1)))
    else:
        monkeypatch.setattr(Answers, "valid", property(by_its_words))
    monkeypatch.setattr(JointModel, "optimiser", plain_descent)
    chosen = settings(**CASES[case])
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    train(one, chosen, False, Processes())
    if divided:
        divide_weights(monkeypatch)
    debug_launcher(train_in_one_of_two, (two, chosen, case == "rl_only"), num_processes=2)
    expected = load_file(one / "end0.safetensors")
    if case == "live groups":
        live = expected["live_groups"]
        assert ((live > 0) & (live < 1)).any(), "some groups differ and some do not"
    assert expected["norm_language"].max() > 1e-3
    assert {value.dtype for name, value in expected.items() if name.startswith("interface")} == {torch.float64}
    for rank in range(2):
        found = load_file(two / f"end{rank}.safetensors")
        assert set(found) == (set(expected) if not divided or rank == 0 else {"curve", *WATCHED})
        for name, value in found.items():
            assert same_values(value, expected[name]), name


def test_prompts_that_the_processes_cannot_share_are_one_sentence() -> None:
    three = Processes()
    three.count = 3
    model = tiny_joint()
    with pytest.raises(InputError, match=r"joint\.prompts: is 4, which 3 processes cannot share evenly"):
        JointTrainer(model, FourPrompts(16, three), settings(), micro_study().answer, 0.5, 0, three)  # type: ignore[arg-type]


@pytest.mark.numerical
@pytest.mark.usefixtures("in_double")
def test_a_process_whose_answers_have_ended_or_are_well_formed_waits_for_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process's answers are the shortest well-formed one, the second's never end."""
    found = SamplingModel._draw

    def drawn(vlm: SamplingModel, last: Tensor, running: Running, count: int, *given: Any) -> tuple[Tensor, Tensor]:
        token, log_prob = found(vlm, last, running, count, *given)
        running.drawn = getattr(running, "drawn", -1) + 1  # type: ignore[attr-defined]
        shortest = vlm.answer_ids("")
        written = shortest[min(running.drawn, len(shortest) - 1)]  # type: ignore[attr-defined]
        prompts = (running.rollouts + given[1].rank * count) // running.rollouts.shape[1]
        return torch.where(prompts < 2, written, token.clamp(max=vlm.end_id - 1)), log_prob

    monkeypatch.setattr(SamplingModel, "_draw", drawn)
    monkeypatch.setattr("segcompass.joint.trainer.advantages", lambda rewards, scaled: np.tile([-1.0, 1.0], (len(rewards), 1)))
    monkeypatch.setattr(JointModel, "optimiser", plain_descent)
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    divide_weights(monkeypatch)
    train(one, settings(), False, Processes())
    debug_launcher(train_in_one_of_two, (two, settings(), False), num_processes=2)
    expected, ours = (load_file(folder / "end0.safetensors") for folder in (one, two))
    assert expected["reward_format"].tolist() == [0.5] * len(expected["reward_format"]) and expected["norm_language"].max() > 1e-3
    assert set(ours) == set(expected)
    for name, value in ours.items():
        assert same_values(value, expected[name]), name


def take_turns(folder: Path) -> None:
    processes = one_of_two()
    with (folder / "turns").open("a") as turns, processes.in_turn():
        for word in ("begins", "ends"):
            turns.write(f"{processes.rank} {word}\n")
            turns.flush()


def test_processes_that_take_turns_are_never_at_it_together(tmp_path: Path) -> None:
    debug_launcher(take_turns, (tmp_path,), num_processes=2)
    assert (tmp_path / "turns").read_text().splitlines() == ["0 begins", "0 ends", "1 begins", "1 ends"]


def weigh(folder: Path, processes: Processes) -> None:
    """Leaves behind what a process stores between two steps, in the rows of the footprint."""
    model = tiny_joint()
    trainer = trainer_of(model, settings(steps=1, checkpoint_every=1), processes)
    optimisers = []
    made = model.optimiser
    model.optimiser = lambda rates: optimisers.append(made(rates)) or optimisers[0]  # type: ignore[method-assign, func-returns-value]
    trainer.run(folder, Silent())
    trained = list(model.trained().values())
    moments = [value for state in optimisers[0].state.values() for name, value in state.items() if name != "step"]
    stored = {
        "frozen weights": [value for value in model.parameters() if not value.requires_grad],
        "trained weights": trained,
        "gradients": [value.grad for value in trained if value.grad is not None],
        "AdamW moments": moments,
        "reference policy": list(trainer.reference.parameters()),
    }
    sizes = {name: stored_bytes(values) for name, values in stored.items()}
    (folder / f"stored{processes.rank}.json").write_text(json.dumps(sizes))


def weigh_in_one_of_two(folder: Path) -> None:
    weigh(folder, one_of_two())


def test_a_process_stores_what_the_footprint_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = micro_study()
    backbone = backbone_sizes(study, Path.cwd())
    folders = {1: tmp_path / "one", 2: tmp_path / "two"}
    for folder in folders.values():
        folder.mkdir()
    weigh(folders[1], Processes())
    divide_weights(monkeypatch)
    debug_launcher(weigh_in_one_of_two, (folders[2],), num_processes=2)
    for count, folder in folders.items():
        said = state_bytes(study, backbone, count)
        for rank in range(count):
            found = json.loads((folder / f"stored{rank}.json").read_text())
            assert found == pytest.approx(said, rel=0.15), (count, rank)


@pytest.mark.parametrize(
    ("keys", "may_divide", "sentence"),
    [
        ({"FSDP_VERSION": "2"}, False, "distributed_type: is FSDP, but every process of this stage holds the whole model"),
        ({"FSDP_VERSION": "1"}, True, "fsdp_version: is 1, but weights are divided by FSDP2"),
        ({"FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true"}, True, "fsdp_offload_params: is true, but weights stay where"),
    ],
)
def test_a_division_that_is_not_ours_is_one_sentence(
    keys: dict[str, str], may_divide: bool, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    divide_weights(monkeypatch)
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=sentence):
        Processes(SimpleNamespace(num_processes=1, process_index=0), may_divide)  # type: ignore[arg-type]
