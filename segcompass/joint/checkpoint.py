"""Checkpoints of a run: trained parameters and fitted statistics, and the settings that rebuild the parts they belong to."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from segcompass.backbone.load import load_segmenter, load_vlm
from segcompass.errors import InputError, damaged
from segcompass.joint.model import InterfaceModel, JointModel
from segcompass.joint.reading import Policy
from segcompass.numerics.finite import loaded_finite, save_finite
from segcompass.sae.checkpoint import load_dictionary
from segcompass.sae.dictionary import Dictionary
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.interface import ModelSettings

Model = TypeVar("Model", bound=InterfaceModel)


def build_interface(
    backbone: Path, dictionary: Dictionary, settings: ModelSettings, runtime: RuntimeSettings, policy: Policy
) -> InterfaceModel:
    """An interface between a dictionary and a backbone's SAM, freshly drawn from torch's current seed; no language model is loaded."""
    segmenter = load_segmenter(backbone / settings.segmenter, runtime)
    return InterfaceModel(segmenter, dictionary, settings, policy).to(runtime.device)


def build_joint(backbone: Path, sae: Path, settings: ModelSettings, runtime: RuntimeSettings, answer: AnswerSettings) -> JointModel:
    """The joint model of a backbone and a dictionary, its interface freshly drawn from torch's current seed."""
    vlm = load_vlm(backbone / "vlm", runtime, answer)
    segmenter = load_segmenter(backbone / settings.segmenter, runtime)
    return JointModel(vlm, segmenter, load_dictionary(sae), settings, answer.max_thought_tokens).to(runtime.device)


def save_run(model: InterfaceModel, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
    """Writes `model.safetensors` (what the run itself has made) and `interface.json`.

    Args:
        model: of the run.
        folder: that of the artefact.
        state: the model's whole `state`, where its weights are divided among processes.
    """
    state = model.state() if state is None else state
    save_finite({name: value.detach().contiguous() for name, value in state.items()}, folder / "model.safetensors")
    facts = {"model": model.settings.model_dump(mode="json"), "policy": asdict(model.policy)}
    (folder / "interface.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def load_interface(run: Path, backbone: Path, sae: Path, runtime: RuntimeSettings) -> InterfaceModel:
    """The trained interface of a run of either experiment, without its policy, in evaluation mode.

    Raises:
        InputError: the run's files are missing or do not fit the backbone and dictionary.
    """
    settings, policy = described_run(run)
    return _restored(run, build_interface(backbone, load_dictionary(sae), settings, runtime, policy))


def load_joint(run: Path, backbone: Path, sae: Path, runtime: RuntimeSettings, answer: AnswerSettings) -> JointModel:
    """The model of a run with its policy, in evaluation mode; a run of the interface experiment has the backbone's own.

    Raises:
        InputError: the run's files are missing or do not fit the backbone and dictionary.
    """
    return _restored(run, build_joint(backbone, sae, run_settings(run), runtime, answer))


def start_from(model: JointModel, run: Path, trained: bool) -> None:
    """Gives a joint model the interface, and SAM's trained parts, of a run of the interface experiment.

    Args:
        model: built with that run's own settings.
        run: the run.
        trained: take what was trained; false takes the fitted statistics alone and leaves the rest as it was drawn.

    Raises:
        InputError: the run's files are missing or do not fit the backbone and dictionary.
    """
    fitted = None if trained else {name for name, _ in model.named_buffers()}
    _restore(run, model, fitted)


def run_settings(run: Path) -> ModelSettings:
    """The interface's settings of a run.

    Raises:
        InputError: the run's description is missing or damaged.
    """
    return described_run(run)[0]


def described_run(run: Path) -> tuple[ModelSettings, Policy]:
    """The interface's settings of a run, and the policy that it was made for.

    Raises:
        InputError: the run's description is missing or damaged.
    """
    try:
        facts: dict[str, Any] = json.loads((run / "interface.json").read_text(encoding="utf-8"))
        policy = Policy(**{key: int(value) for key, value in facts["policy"].items()})
        return ModelSettings.model_validate_json(json.dumps(facts["model"])), policy
    except ValidationError as error:
        first = error.errors()[0]
        raise damaged(run, "interface.json", f"describes no run ({'.'.join(map(str, first['loc']))}: {first['msg']})") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(run, "interface.json", f"describes no run ({error})") from error


def _restored(run: Path, model: Model) -> Model:
    _restore(run, model)
    return model.requires_grad_(False).eval()


def _restore(run: Path, model: InterfaceModel, only: set[str] | None = None) -> None:
    """Copies what a run holds, or of it `only` some; the policy's part stays as it is where the run has none."""
    try:
        trained = load_file(run / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(run, "model.safetensors", f"cannot be read ({error})") from error
    loaded_finite(trained, run, "model.safetensors")
    policy = {name for name in model.state() if name.startswith("vlm.")}
    held = {name for name in trained if name.startswith("vlm.")}
    own = {name: value for name, value in model.state().items() if held or name not in policy}
    trained = {name: value for name, value in trained.items() if policy or name not in held}
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in trained.items()}:
        raise InputError(run / "model.safetensors", "", "does not fit this backbone and dictionary; name the ones that it was trained with")
    with torch.no_grad():
        for name, value in own.items():
            if only is None or name in only:
                value.copy_(trained[name])
