"""Parameters and operations of every kind of interface, against the modules that the code builds."""

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from segcompass.backbone.token_types import INSTRUCTION, THOUGHT
from segcompass.footprint.disk import interface_checkpoint_bytes, joint_checkpoint_bytes
from segcompass.footprint.memory import interface_size
from segcompass.footprint.sizes import backbone_sizes
from segcompass.joint.interface import ConceptInterface
from segcompass.joint.reading import Policy, Reading
from segcompass.study.interface import InterfaceSettings
from tests.tiny import micro_study, tiny_joint

STUDY = micro_study()
KINDS = {
    "reference": {},
    "sae_only": {"reference_state": False},
    "ref_only": {"readout": "references"},
    "text_readout": {"readout": "words", "reference_state": False},
    "no_codebook": {"codebook": "pooled"},
    "no_slot_mapper": {"mapper": "dot"},
    "slots_2": {"slots": 2, "query_layers": 3},
}


def variant(changes: dict) -> InterfaceSettings:
    """The micro study's interface with changed keys of its model."""
    return STUDY.interface.model_copy(update={"model": STUDY.interface.model.model_copy(update=changes)})


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_parameters_and_statistics_are_those_of_the_model(changes: dict) -> None:
    settings, backbone = variant(changes), backbone_sizes(STUDY, Path.cwd())
    model, size = tiny_joint(settings.model), interface_size(STUDY, backbone, settings)
    parts = {name: sum(value.numel() for value in values) for name, values in model.parts().items()}
    assert (size.codebook, size.mapper) == (parts["codebook"], parts["mapper"])
    assert size.fitted == sum(value.numel() for value in model.interface.buffers())


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_checkpoints_hold_what_is_counted(changes: dict) -> None:
    """Bytes of everything that a run of either experiment saves."""
    settings, backbone = variant(changes), backbone_sizes(STUDY, Path.cwd())
    study = STUDY.model_copy(update={"interface": settings})
    held = {name: value.nbytes for name, value in tiny_joint(settings.model).state().items()}
    assert joint_checkpoint_bytes(study, backbone, study.joint) == sum(held.values())
    assert interface_checkpoint_bytes(study, backbone, settings) == sum(size for name, size in held.items() if not name.startswith("vlm."))


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_reading_costs_what_torch_counts(changes: dict, dense: bool) -> None:
    """Torch counts no look-up: the sums of gathered rows, and the mean of pooled tokens, are added by hand."""
    settings, backbone, length = variant(changes), backbone_sizes(STUDY, Path.cwd()), 20
    size = interface_size(STUDY, backbone, settings)
    model, k, q = settings.model, settings.model.slots, settings.model.query_width
    interface = ConceptInterface(
        model, torch.randn(size.features, size.width), size.channels, Policy(size.vocabulary, STUDY.answer.slots, size.longest)
    )
    codes = torch.zeros(1, length, size.features)
    codes[..., : size.features if dense else size.active] = 1.0
    types = torch.full((1, length), INSTRUCTION, dtype=torch.uint8)
    types[:, -5:] = THOUGHT
    reading = Reading(codes, types, torch.ones(1, length, dtype=torch.long), torch.randn(1, STUDY.answer.slots, size.width))
    embeddings = torch.randn(1, size.channels, size.grid, size.grid)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        interface(reading, embeddings)
    found = counter.get_total_flops()
    if model.readout == "concepts" and not dense:
        found += 2 * size.active * q * length
    if model.codebook == "pooled":
        found += 2 * q * (k if model.readout == "references" else length)
    assert size.reading(length, dense) == found
