"""Checkpoints of a joint run: trained parameters and fitted statistics, and the settings that rebuild the parts they belong to."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from segcompass.backbone.load import load_segmenter, load_vlm
from segcompass.errors import InputError, damaged
from segcompass.joint.model import JointModel
from segcompass.numerics.finite import loaded_finite, save_finite
from segcompass.sae.checkpoint import load_dictionary
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.joint import InterfaceSettings


def build_model(backbone: Path, sae: Path, interface: InterfaceSettings, runtime: RuntimeSettings, answer: AnswerSettings) -> JointModel:
    """The joint model of a backbone and a dictionary, its interface freshly drawn from torch's current seed."""
    vlm = load_vlm(backbone / "vlm", runtime, answer)
    model = JointModel(vlm, load_segmenter(backbone / "sam", runtime), load_dictionary(sae), interface, answer.slots)
    return model.to(runtime.device)


def save_run(model: JointModel, interface: InterfaceSettings, folder: Path) -> None:
    """Writes `model.safetensors` (what the run itself has made) and `interface.json`."""
    save_finite({name: value.detach().contiguous() for name, value in model.state().items()}, folder / "model.safetensors")
    (folder / "interface.json").write_text(interface.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_run(run: Path, backbone: Path, sae: Path, runtime: RuntimeSettings, answer: AnswerSettings) -> JointModel:
    """The trained model of a run, in evaluation mode.

    Raises:
        InputError: the run's files are missing or do not fit the backbone and dictionary.
    """
    try:
        interface = InterfaceSettings.model_validate_json((run / "interface.json").read_text(encoding="utf-8"))
        trained = load_file(run / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(run, "model.safetensors, interface.json", f"are no run ({error})") from error
    loaded_finite(trained, run, "model.safetensors")
    model = build_model(backbone, sae, interface, runtime, answer)
    own = model.state()
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in trained.items()}:
        raise InputError(run / "model.safetensors", "", "does not fit this backbone and dictionary; name the ones that it was trained with")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(trained[name])
    return model.requires_grad_(False).eval()
