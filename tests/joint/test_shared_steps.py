"""Two processes that share every step's prompts end where one process ends that has them all."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator, DistributedType, debug_launcher
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file

from segcompass.errors import InputError
from segcompass.joint.batches import Batch
from segcompass.joint.model import JointModel
from segcompass.joint.rollouts import Answers
from segcompass.joint.trainer import JointTrainer
from segcompass.joint.validation import Validation
from segcompass.optimisation.processes import Processes
from segcompass.study.experiments import changed
from segcompass.study.joint import JointSettings, LearningRates
from tests.arithmetic import same_values
from tests.tiny import micro_study, pictures, tiny_joint

TEXTS = ("left red ring", "both blue squares", "the striped triangle on the left of the large green cross", "red")
OBJECTS = (1, 2, 0, 0)
"""Of the prompts, in turn: the second process has no matched pair, and the first has all of them."""
RATE = 0.1


class FourPrompts:
    """Four prompts that come back in every step, with different numbers of objects and lengths of text."""

    def __init__(self, side: int, processes: Processes) -> None:
        self.processes = processes
        generator = torch.Generator().manual_seed(3)
        self.targets = [torch.rand(count, side, side, generator=generator).round() for count in OBJECTS]
        self.embeddings = torch.randn(4, 32, side // 4, side // 4, generator=generator)
        self.side = side

    def batch(self, step: int, size: int) -> Batch:
        own = list(self.processes.share(size))
        images, valid = pictures(4), torch.ones(len(own), self.side, self.side, dtype=torch.bool)
        gold = ["target : no such object", None, None, "target : no such object"]
        picked = [[values[place] for place in own] for values in (TEXTS, images, self.targets, gold)]
        return Batch(picked[0], picked[1], picked[2], self.embeddings[own], valid, picked[3])


class Silent(Validation):
    """Validations that measure nothing."""

    def __init__(self) -> None:
        pass

    def row(self, step: int) -> dict[str, float]:
        return {"step": step, "gIoU": 0.0}


def settings(**changes: object) -> JointSettings:
    raw = micro_study().joint.model_dump(mode="json")
    return JointSettings.model_validate(changed(raw, {"steps": 3, "prompts": 4, "checkpoint_every": 2, **changes}))


def train(folder: Path, chosen: JointSettings, processes: Processes) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = tiny_joint().double()
    prompts = FourPrompts(model.segmenter.mask_side, processes)
    trainer = JointTrainer(model, prompts, chosen, micro_study().answer, 0.5, 0, processes)  # type: ignore[arg-type]
    rows = trainer.run(folder, Silent()).curve
    values = [[float(value) for value in row.values()] for row in rows]
    state = {name: value.detach().contiguous() for name, value in model.trained().items()}
    curve = {"curve": torch.tensor(values, dtype=torch.float64)}
    curve |= {name: torch.tensor([row[name] for row in rows]) for name in ("live_groups", "norm_language")}
    save_file(state | curve, folder / f"end{processes.rank}.safetensors")


def train_in_one_of_two(folder: Path, chosen: JointSettings) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # a test before this one may have run a stage in the parent
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    train(folder, chosen, Processes(accelerator))


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


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything that a test computes, and its forked processes compute, is float64, also where the code asks for at least float32.

    Steps amplify a rounding, by no bound that can be named; float64 leaves room for that between rounding and fault.
    """
    before = torch.get_default_dtype()
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(torch.nn.Module, "float", torch.nn.Module.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.numerical
@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one_with_all_prompts(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    train(one, chosen, Processes())
    debug_launcher(train_in_one_of_two, (two, chosen), num_processes=2)
    expected = load_file(one / "end0.safetensors")
    if case == "live groups":
        live = expected["live_groups"]
        assert ((live > 0) & (live < 1)).any(), "some groups differ and some do not"
    assert expected["norm_language"].max() > 1e-3
    assert {value.dtype for name, value in expected.items() if name.startswith("interface")} == {torch.float64}
    for rank in range(2):
        found = load_file(two / f"end{rank}.safetensors")
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert same_values(found[name], value), name


def test_prompts_that_the_processes_cannot_share_are_one_sentence() -> None:
    three = Processes()
    three.count = 3
    model = tiny_joint()
    with pytest.raises(InputError, match=r"joint\.prompts: is 4, which 3 processes cannot share evenly"):
        JointTrainer(model, FourPrompts(16, three), settings(), micro_study().answer, 0.5, 0, three)  # type: ignore[arg-type]


def test_a_launch_that_would_divide_the_weights_is_one_sentence() -> None:
    sharded = SimpleNamespace(num_processes=1, process_index=0, distributed_type=DistributedType.FSDP)
    with pytest.raises(InputError, match="distributed_type: is FSDP, but every process of this stage holds the whole model"):
        Processes(sharded)  # type: ignore[arg-type]
