"""A run of four prompts that several processes can share."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from segcompass.joint.batches import Batch
from segcompass.joint.model import JointModel
from segcompass.joint.trainer import JointTrainer
from segcompass.joint.validation import Validation
from segcompass.optimisation.processes import Processes
from segcompass.study.experiments import changed
from segcompass.study.joint import JointSettings
from tests.tiny import micro_study, pictures

TEXTS = ("left red ring", "both blue squares", "the striped triangle on the left of the large green cross", "red")
OBJECTS = (1, 2, 0, 0)
"""Of the prompts, in turn: the second process has no matched pair, and the first has all of them."""


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


def trainer_of(model: JointModel, chosen: JointSettings, processes: Processes) -> JointTrainer:
    reference = model.divide(processes) if processes.divided else None
    prompts = FourPrompts(model.segmenter.mask_side, processes)
    return JointTrainer(model, prompts, chosen, micro_study().answer, 0.5, 0, processes, reference)  # type: ignore[arg-type]


def one_of_two() -> Processes:
    torch.set_num_threads(1)  # a forked process cannot use the threads of its parent
    AcceleratorState._reset_state(reset_partial_state=True)  # a test before this one may have run a stage in the parent
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    return Processes(accelerator, may_divide=True)


def divide_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `accelerate launch` sets for a file with `distributed_type: FSDP` and `fsdp_version: 2`."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
