"""A run of either experiment is read with or without its policy, and joint training starts from the interface that it names."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from segcompass.backbone.build import save_embedded
from segcompass.errors import InputError
from segcompass.joint.checkpoint import build_joint, described_run, load_interface, load_joint, run_settings, save_run, start_from
from segcompass.joint.model import InterfaceModel, JointModel
from segcompass.joint.reading import Policy
from segcompass.sae.checkpoint import save_dictionary
from segcompass.study.interface import ModelSettings
from tests.tiny import SLOTS, micro_study, tiny_dictionary, tiny_joint, tiny_sam

SETTINGS = micro_study().interface.model.model_copy(update={"slots": 2})


class Folders:
    """A backbone, a dictionary, and a run of each experiment whose weights and statistics are drawn."""

    def __init__(self, root: Path) -> None:
        self.backbone, self.sae, self.interface, self.joint = (root / name for name in ("backbone", "sae", "interface", "joint"))
        for folder in (self.sae, self.interface, self.joint):
            folder.mkdir()
        torch.manual_seed(5)
        model = tiny_joint(SETTINGS)
        save_embedded(self.backbone, model.vlm.model, model.vlm.processor, model.segmenter.model)
        save_dictionary(model.dictionary, self.sae)
        self.trained = InterfaceModel(tiny_sam(), tiny_dictionary(), SETTINGS, model.policy)
        self.reinforced = model
        for part, folder in ((self.trained, self.interface), (self.reinforced, self.joint)):
            with torch.no_grad():
                for value in part.state().values():
                    value.copy_(torch.randn_like(value) * 0.1)
            save_run(part, folder)

    def built(self) -> JointModel:
        study = micro_study()
        torch.manual_seed(9)
        return build_joint(self.backbone, self.sae, SETTINGS, study.runtime, study.answer)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], names: set[str]) -> bool:
    assert names
    return all(torch.equal(found[name], expected[name]) for name in names)


def test_a_run_says_what_it_was_made_for(folders: Folders) -> None:
    answer = micro_study().answer
    for run in (folders.interface, folders.joint):
        settings, policy = described_run(run)
        assert settings == SETTINGS == run_settings(run)
        assert policy == Policy(folders.reinforced.vlm.vocabulary, SLOTS, answer.max_thought_tokens)


def test_an_interface_is_read_without_its_policy(folders: Folders) -> None:
    """Whichever experiment it comes from; its own parts are what it held, and nothing is trained any more."""
    for run, made in ((folders.interface, folders.trained), (folders.joint, folders.reinforced)):
        found = load_interface(run, folders.backbone, folders.sae, micro_study().runtime)
        assert type(found) is InterfaceModel and not found.training and not found.trained()
        state = found.state_dict()
        names = {name for name in made.state() if not name.startswith("vlm.")}
        assert same(state, made.state(), names)


def test_a_joint_model_has_its_runs_policy_or_the_backbones(folders: Folders) -> None:
    study = micro_study()
    untouched = folders.built().state_dict()
    policy = {name for name in folders.reinforced.trained() if name.startswith("vlm.")}
    own = set(folders.trained.state())
    of_joint, of_interface = (
        load_joint(run, folders.backbone, folders.sae, study.runtime, study.answer).state_dict()
        for run in (folders.joint, folders.interface)
    )
    assert same(of_joint, folders.reinforced.state(), policy | own) and not any(
        torch.equal(of_joint[name], untouched[name]) for name in policy
    )
    assert same(of_interface, folders.trained.state(), own) and same(of_interface, untouched, policy)


def test_joint_training_starts_from_what_was_trained_or_from_what_was_drawn(folders: Folders) -> None:
    drawn = {name: value.detach().clone() for name, value in folders.built().state_dict().items()}
    own = set(folders.trained.state())
    fitted = own - set(folders.trained.trained())
    assert fitted and all("centring" in name or "whitening" in name for name in fitted)
    for trained in (True, False):
        model = folders.built()
        start_from(model, folders.interface, trained=trained)
        found = model.state_dict()
        assert same(found, folders.trained.state(), own if trained else fitted), "statistics are fitted either way"
        assert same(found, drawn, set(drawn) - (own if trained else fitted)), "and everything else is left alone"
        assert model.trained().keys() == folders.built().trained().keys(), "what is trained stays so"


def edited(run: Path, name: str, value: torch.Tensor | None) -> None:
    tensors = load_file(run / "model.safetensors")
    tensors.pop(name)
    save_file(tensors | ({} if value is None else {name: value}), run / "model.safetensors")


ROWS = "interface.codebook.tokens.rows"


@pytest.mark.parametrize("damage", ["gone", "cut", "wider", "lacking"])
def test_a_run_that_does_not_fit_is_one_sentence(folders: Folders, damage: str) -> None:
    path = folders.interface / "model.safetensors"
    words = {"gone": "cannot be read", "cut": "cannot be read"}.get(damage, "does not fit this backbone and dictionary")
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        edited(folders.interface, ROWS, torch.zeros(65, SETTINGS.query_width) if damage == "wider" else None)
    study = micro_study()
    for read in (
        lambda: load_interface(folders.interface, folders.backbone, folders.sae, study.runtime),
        lambda: load_joint(folders.interface, folders.backbone, folders.sae, study.runtime, study.answer),
        lambda: start_from(folders.built(), folders.interface, trained=True),
    ):
        with pytest.raises(InputError, match=words) as fault:
            read()
        assert "\n" not in str(fault.value)


def test_an_unknown_key_of_a_run_is_one_sentence(folders: Folders) -> None:
    text = (folders.interface / "interface.json").read_text()
    (folders.interface / "interface.json").write_text(text.replace('"readout"', '"read_out"'))
    with pytest.raises(InputError, match=r"interface\.json: describes no run \(.*read_?out") as fault:
        described_run(folders.interface)
    assert "\n" not in str(fault.value) and len(str(fault.value)) < 400
    assert "read_out" not in ModelSettings.model_fields
