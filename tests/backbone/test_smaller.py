"""Smaller SAMs begin with everything but the image encoder of the largest one, and end with the same bytes however the work was divided."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segcompass.backbone.build import build_sam
from segcompass.backbone.load import load_segmenter
from segcompass.backbone.runtime import prepare_torch
from segcompass.backbone.sam import SamSegmenter
from segcompass.backbone.training import segmenter
from segcompass.backbone.training.scenes import TrainingScene, draw_training_scenes
from segcompass.backbone.training.smaller import load_largest, smaller_sam
from segcompass.errors import InputError
from segcompass.stages.train_backbone import train_sams
from segcompass.study.backbone import EmbeddedBackbone, PhaseSettings
from segcompass.study.data import WorldSettings
from segcompass.study.load import load_study

STUDY = load_study(Path("params/smoke.yaml"))
assert isinstance(STUDY.backbone, EmbeddedBackbone) and isinstance(STUDY.data, WorldSettings)
STEPS = 3


def short(phase: PhaseSettings) -> PhaseSettings:
    return phase.model_copy(update={"steps": STEPS, "batch": 2})


def settings(taken: tuple[str, ...] = ()) -> EmbeddedBackbone:
    """The smoke study's backbone, trained for seconds."""
    backbone = STUDY.backbone
    assert isinstance(backbone, EmbeddedBackbone)
    recipe = backbone.training
    smaller = recipe.smaller.model_copy(update={"encoder": short(recipe.smaller.encoder), "together": short(recipe.smaller.together)})
    phases = {"encoder": short(recipe.encoder), "masks": short(recipe.masks), "together": short(recipe.together), "smaller": smaller}
    changes = {"training": recipe.model_copy(update=phases), "taken": list(taken), "checkpoint_every": 1}
    return backbone.model_copy(update=changes)


@pytest.fixture(scope="module")
def scenes() -> list[TrainingScene]:
    assert isinstance(STUDY.data, WorldSettings)
    return draw_training_scenes(STUDY.data, 4, 0)


@pytest.fixture(scope="module")
def saved(scenes: list[TrainingScene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every SAM, trained in one process, each in a folder of its name."""
    root = tmp_path_factory.mktemp("saved")
    (root / "resume").mkdir()
    for name, (sam, _) in train_sams(settings(), scenes, {}, 1, root / "resume").items():
        sam.model.save_pretrained(root / name)
    return root


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_everything_but_the_encoder_is_that_of_the_largest() -> None:
    torch.manual_seed(0)
    recipe = settings()
    largest, tower = SamSegmenter(build_sam(recipe.sam)), recipe.smaller_sams["sam_small"]
    smaller = smaller_sam(largest, recipe.sam, tower)
    ours, theirs = smaller.model.state_dict(), largest.model.state_dict()
    for name, value in ours.items():
        if not name.startswith("vision_encoder."):
            assert torch.equal(value, theirs[name]), name
            assert value.data_ptr() != theirs[name].data_ptr(), f"{name} is trained, so it must be a copy"
    encoder = smaller.model.config.vision_config
    assert (encoder.num_hidden_layers, encoder.hidden_size, encoder.mlp_dim) == (tower.layers, tower.width, tower.mlp_width)
    assert (smaller.mask_side, smaller.channels, smaller.grid) == (largest.mask_side, largest.channels, largest.grid)


def test_beginning_from_the_saved_largest_gives_the_bytes_of_going_on_in_one_process(
    saved: Path, scenes: list[TrainingScene], tmp_path: Path
) -> None:
    torch.rand(7)  # whatever else the process drew
    (tmp_path / "resume").mkdir()
    found = train_sams(settings(("vlm", "sam")), scenes, {"sam": saved / "sam"}, 1, tmp_path / "resume")
    assert list(found) == ["sam_medium", "sam_small"], "what is taken is not trained"
    for name, (sam, phases) in found.items():
        sam.model.save_pretrained(tmp_path / name)
        assert weights(tmp_path / name) == weights(saved / name)
        assert [phase.name for phase in phases] == [f"{name}_encoder", f"{name}_together"]
        assert {"colour", "place", "outline", "bce", "dice"} <= set(phases[1].rows[-1])


def test_one_smaller_sam_does_not_depend_on_the_others(saved: Path, scenes: list[TrainingScene], tmp_path: Path) -> None:
    taken = {"sam": saved / "sam", "sam_medium": saved / "sam_medium"}
    (tmp_path / "resume").mkdir()
    found = train_sams(settings(("vlm", *taken)), scenes, taken, 1, tmp_path / "resume")
    assert list(found) == ["sam_small"]
    found["sam_small"][0].model.save_pretrained(tmp_path / "sam_small")
    assert weights(tmp_path / "sam_small") == weights(saved / "sam_small")


@pytest.mark.parametrize("killed_in", ["sam_medium_encoder", "sam_medium_together", "sam_small_encoder", "sam_small_together"])
def test_a_killed_training_goes_on_to_the_same_bytes(
    killed_in: str, saved: Path, scenes: list[TrainingScene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume, taken = tmp_path / "resume", {"sam": saved / "sam"}
    resume.mkdir()
    run_phase = segmenter.run_phase

    def killed(name: str, phase: Any, module: Any, losses: Callable[[int], dict[str, Tensor]], *others: Any) -> Any:
        def dying(step: int) -> dict[str, Tensor]:
            if name == killed_in and step == STEPS - 1:
                raise KeyboardInterrupt
            return losses(step)

        return run_phase(name, phase, module, dying, *others)

    monkeypatch.setattr(segmenter, "run_phase", killed)
    with pytest.raises(KeyboardInterrupt):
        train_sams(settings(("vlm", "sam")), scenes, taken, 1, resume)
    monkeypatch.undo()
    assert (resume / f"{killed_in}.safetensors").is_file(), "there is a resume point to go on from"
    for name, (sam, phases) in train_sams(settings(("vlm", "sam")), scenes, taken, 1, resume).items():
        sam.model.save_pretrained(tmp_path / name)
        assert weights(tmp_path / name) == weights(saved / name)
        assert [len(phase.rows) for phase in phases] == [STEPS, STEPS]


def test_training_changes_encoder_prompt_and_decoder_and_leaves_the_largest_alone(saved: Path) -> None:
    largest, smaller = load_largest(saved / "sam", settings().sam), load_segmenter(saved / "sam_small", STUDY.runtime)
    assert isinstance(smaller, SamSegmenter)
    ours, theirs = smaller.model.state_dict(), largest.model.state_dict()
    for trained in ("prompt_encoder.mask_embed.", "mask_decoder."):
        assert any(not torch.equal(ours[name], theirs[name]) for name in ours if name.startswith(trained)), trained
    for name in ("shared_image_embedding.positional_embedding", "prompt_encoder.no_mask_embed.weight"):
        assert torch.equal(ours[name], theirs[name]), f"{name} is not trained"
    prepare_torch(1, settings().seed)
    untrained = smaller_sam(largest, settings().sam, settings().smaller_sams["sam_small"]).model.state_dict()
    moved = [name for name in ours if name.startswith("vision_encoder.") and not torch.equal(ours[name], untrained[name])]
    assert "vision_encoder.patch_embed.projection.weight" in moved and "vision_encoder.layers.0.mlp.lin1.weight" in moved


def test_a_taken_sam_of_other_sizes_is_one_sentence(saved: Path, scenes: list[TrainingScene], tmp_path: Path) -> None:
    shutil.copytree(saved / "sam", tmp_path / "sam")
    recipe = settings(("vlm", "sam"))
    other = recipe.model_copy(update={"sam": recipe.sam.model_copy(update={"channels": 64})})
    with pytest.raises(
        InputError, match=r"config\.json: vision_config\.output_channels: is 32, but the study's recipe has 64; take `sam` out"
    ):
        train_sams(other, scenes, {"sam": tmp_path / "sam"}, 1, tmp_path)
