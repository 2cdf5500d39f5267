"""`segcompass ship-backbone`: a build that takes some parts trains the others, and shipping it changes these alone."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from segcompass.backbone.build import build_sam, save_sam
from segcompass.backbone.card import card_text, file_digests, part_recipe
from segcompass.cli import main
from segcompass.provenance.folder_digest import folder_digest
from segcompass.provenance.stage import Stage
from segcompass.stages import prepare_data, train_backbone
from segcompass.study.backbone import EmbeddedBackbone
from segcompass.study.data import WorldSettings
from segcompass.study.jobs import Job, stage_params
from segcompass.study.load import load_study
from segcompass.study.study import Study

SHIPPED = Path("backbones/embedded")
STEPS = 2


def small_study(folder: Path) -> Study:
    """The smoke study with a world and phases of seconds, its build taking `vlm` and `sam` from `folder`."""
    study = load_study(Path("params/smoke.yaml"))
    backbone, data = study.backbone, study.data
    assert isinstance(backbone, EmbeddedBackbone) and isinstance(data, WorldSettings)
    phases = {
        name: phase.model_copy(update={"steps": STEPS, "batch": 2})
        for name, phase in (("encoder", backbone.training.smaller.encoder), ("together", backbone.training.smaller.together))
    }
    recipe = backbone.training.model_copy(update={"sam_scenes": 3, "smaller": backbone.training.smaller.model_copy(update=phases)})
    built = backbone.model_copy(update={"folder": str(folder), "taken": ["vlm", "sam"], "training": recipe})
    scenes = data.scenes.model_copy(update={"train": 8})
    return study.model_copy(update={"backbone": built, "data": data.model_copy(update={"scenes": scenes})})


def stage_at(name: str, study: Study, folder: Path, inputs: dict[str, Path]) -> Stage:
    folder.mkdir()
    return Stage(name, stage_params(study, Job(name)), {}, folder, inputs, {})


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artefact of `train_backbone` that has trained `sam_medium` and `sam_small` alone."""
    root = tmp_path_factory.mktemp("ship")
    study = small_study(root / "given")
    assert isinstance(study.backbone, EmbeddedBackbone)
    shutil.copytree(SHIPPED / "vlm", root / "given" / "vlm")
    save_sam(root / "given" / "sam", build_sam(study.backbone.sam))
    prepare_data.work(stage_at("prepare_data", study, root / "data", {}))
    stage = stage_at("train_backbone", study, root / "backbone", {"data": root / "data"})
    files = {part: root / "given" / part for part in study.backbone.taken}
    stage.params["files"] = {part: {"folder": str(folder), "digest": folder_digest(folder)} for part, folder in files.items()}
    train_backbone.work(stage)
    shutil.rmtree(stage.folder / ".resume")
    record = {"params": stage.params, "facts": stage.facts, "commit": "c0ffee", "code": "d1ce", "versions": {"torch": "2"}}
    (stage.folder / "run.json").write_text(json.dumps(record))
    return stage.folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped folder, as it was before any smaller SAM."""
    target = tmp_path / "embedded"
    for part in ("vlm", "sam"):
        shutil.copytree(SHIPPED / part, target / part)
    card = json.loads((SHIPPED / "card.json").read_text(encoding="utf-8"))
    (target / "card.json").write_text(json.dumps({part: card[part] for part in ("vlm", "sam")}), encoding="utf-8")
    return target


def card_of(folder: Path) -> dict:
    return dict(json.loads((folder / "card.json").read_text(encoding="utf-8")))


def test_a_build_takes_what_it_is_told_and_records_what_it_has_trained(artefact: Path) -> None:
    given = artefact.parent / "given"
    for part in ("vlm", "sam"):
        assert file_digests(artefact / part) == file_digests(given / part)
    facts = json.loads((artefact / "run.json").read_text())["facts"]["parts"]
    assert list(facts) == ["sam_medium", "sam_small"]
    curves = pd.read_csv(artefact / "curves.csv")
    phases = [f"{part}_{phase}" for part in facts for phase in ("encoder", "together")]
    assert curves.groupby("phase", sort=False).size().to_dict() == dict.fromkeys(phases, STEPS)
    scores = json.loads((artefact / "scores.json").read_text())
    assert {"mask_iou_sam_medium", "embedding_probe_place_sam_small"} <= set(scores)
    assert not {"mask_iou", "facts_recalled"} & set(scores), "what is taken is not scored again"
    assert scores == facts["sam_medium"]["scores"] | facts["sam_small"]["scores"]


def test_shipping_adds_trained_parts_and_leaves_the_others(artefact: Path, folder: Path) -> None:
    before = card_of(folder)
    digests = {part: file_digests(folder / part) for part in before}
    assert main(["ship-backbone", str(artefact), str(folder)]) == 0
    card = card_of(folder)
    assert list(card) == ["vlm", "sam", "sam_medium", "sam_small"]
    assert {part: card[part] for part in before} == before
    assert {part: file_digests(folder / part) for part in before} == digests
    params = json.loads((artefact / "run.json").read_text())["params"]
    for part in ("sam_medium", "sam_small"):
        entry = card[part]
        assert entry["files"] == file_digests(folder / part) == file_digests(artefact / part)
        assert (entry["commit"], entry["code"], entry["recipe"]) == ("c0ffee", "d1ce", part_recipe(params, part))
        assert entry["steps"] == {f"{part}_encoder": STEPS, f"{part}_together": STEPS}
        assert entry["begun from"] == file_digests(artefact / "sam")["model.safetensors"]
    assert (folder / "README.md").read_text(encoding="utf-8") == card_text(card)


def test_one_part_may_be_shipped_alone(artefact: Path, folder: Path) -> None:
    assert main(["ship-backbone", str(artefact), str(folder), "--parts", "sam_small"]) == 0
    assert list(card_of(folder)) == ["vlm", "sam", "sam_small"]
    assert not (folder / "sam_medium").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["--parts", "sam"], "holds no trained `sam`; choose from sam_medium, sam_small"), ([], "has neither a shipped `vlm` and `sam`")],
)
def test_what_cannot_be_shipped_is_one_sentence_and_changes_nothing(
    words: list[str], sentence: str, artefact: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not words:
        (folder / "card.json").unlink()
    before = sorted(folder.rglob("*"))
    assert main(["ship-backbone", str(artefact), str(folder), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_a_backbone_that_was_taken_whole_is_not_shipped(
    artefact: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((artefact / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record | {"facts": {}}))
    assert main(["ship-backbone", str(tmp_path), str(folder)]) == 2
    assert "was not built but taken from folders" in capsys.readouterr().err
