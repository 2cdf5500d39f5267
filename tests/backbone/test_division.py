"""Models of both families whose weights two processes hold in halves compute what a whole one computes, in either dtype."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator, debug_launcher
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from torch import Tensor

from segcompass.backbone.load import load_vlm
from segcompass.backbone.split import SplitModel
from segcompass.optimisation.division import divide, gathered, outermost, stored_bytes
from segcompass.optimisation.processes import Processes
from tests.arithmetic import same_sums
from tests.checkpoints import SAVE
from tests.tiny import micro_study, pictures

pytestmark = pytest.mark.numerical

TERMS = 128
"""Of the longest sum behind an entry of a gradient, in half precision of a few bits more than a rounding each."""


def load(folder: Path, dtype: str) -> SplitModel:
    study = micro_study()
    torch.manual_seed(0)
    vlm = load_vlm(folder, study.runtime.model_copy(update={"dtype": dtype, "gradient_checkpointing": True}), study.answer)
    assert isinstance(vlm, SplitModel)
    vlm.freeze_up_to(1)
    return vlm


def computed(vlm: SplitModel, reference: torch.nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a step asks of a policy, and the gradients that it leaves."""
    torch.set_num_threads(1)
    prompts = vlm.prompts(pictures(2), ["left red ring", "star"])
    rollouts = vlm.generate(prompts, 2, 1.0, 6, torch.Generator().manual_seed(0))
    states = vlm.rollout_states(prompts, rollouts)
    again = vlm.lower(prompts, rollouts.answers, rollouts.answer_mask)
    with torch.no_grad(), vlm.using(reference):
        old = vlm.answer_log_probs(vlm.upper(states), states, 1.0)
    last, other = vlm.upper(states), vlm.upper(again)
    log_probs = vlm.answer_log_probs(last, states, 1.0)
    (log_probs.mean() + other[:, -1].float().square().mean()).backward()
    found = {"answers": rollouts.answers, "sampled": rollouts.log_probs, "lower": again.hidden, "old": old, "last": last, "log": log_probs}
    gradients = {name: value.grad for name, value in vlm.named_parameters() if value.grad is not None}
    return {name: value.detach().contiguous() for name, value in found.items()}, gradients


def compute_in_halves(folder: Path, dtype: str, out: Path) -> None:
    torch.set_num_threads(1)  # a forked process cannot use the threads of its parent
    AcceleratorState._reset_state(reset_partial_state=True)
    processes = Processes(Accelerator(cpu=True), may_divide=True)
    vlm = load(folder, dtype)
    held = stored_bytes(vlm.parameters())
    reference = vlm.reference_copy()
    divide(vlm.units(), processes)
    divide(vlm.units(reference), processes)
    vlm.anywhere = processes.anywhere
    assert stored_bytes(vlm.parameters()) < 0.55 * held, "no weight of size is left out"
    found, gradients = computed(vlm, reference)
    assert outermost(vlm) and all(value.device.type == "cpu" for value in vlm.parameters())
    whole = gathered({f"gradient.{name}": value for name, value in gradients.items()}, processes)
    save_file(found | {name: value.contiguous() for name, value in whole.items()}, out / f"rank{processes.rank}.safetensors")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", SAVE)
def test_divided_models_compute_what_whole_ones_do(
    family: str, dtype: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = load(folders[family], dtype)
    expected, gradients = computed(vlm, vlm.reference_copy())
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    debug_launcher(compute_in_halves, (folders[family], dtype, tmp_path), num_processes=2)
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(2))
    for found in (first, second):
        for name, value in expected.items():
            assert torch.equal(found[name], value), name
    assert {name.removeprefix("gradient.") for name in first if name.startswith("gradient.")} == set(gradients)
    for name, value in gradients.items():
        # Both processes have the same prompts, so the mean over them is the gradient of one; passes of one weight add up in another order.
        scale = 2.0**16 if dtype == "bfloat16" else 1.0  # a rounding of bfloat16 in those of float32
        assert same_sums(first[f"gradient.{name}"], value, TERMS, scale=scale * float(value.abs().max())), name


def test_every_weight_lies_in_a_unit_and_inner_units_come_first(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        vlm = load(folder, "float32")
        units = [module for module, _ in vlm.units()]
        covered = {id(value) for module in units for value in module.parameters()}
        assert [name for name, value in vlm.named_parameters() if id(value) not in covered] == []
        for place, module in enumerate(units):
            assert not any(inner is later for inner in module.modules() for later in units[place + 1 :])
