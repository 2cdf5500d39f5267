"""Keys of the backbone: which parts there are, which are trained, and what cannot be."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from segcompass.errors import InputError
from segcompass.provenance.folder_digest import folder_digest
from segcompass.provenance.freeze import frozen_contents
from segcompass.study.backbone import EmbeddedBackbone, given_models
from segcompass.study.experiments import changed
from segcompass.study.jobs import Job
from segcompass.study.load import load_study
from segcompass.study.study import Study

PARAMS = Path("params")


def edited(tmp_path: Path, changes: dict[str, Any]) -> Path:
    raw = changed(yaml.safe_load((PARAMS / "default.yaml").read_text(encoding="utf-8")), changes)
    path = tmp_path / "default.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return path


def embedded(study: Study) -> EmbeddedBackbone:
    assert isinstance(study.backbone, EmbeddedBackbone)
    return study.backbone


def test_a_build_trains_what_it_does_not_take(tmp_path: Path) -> None:
    shipped = embedded(load_study(PARAMS / "default.yaml"))
    parts = ["vlm", "sam", "sam_medium", "sam_small"]
    assert given_models(shipped) == {part: f"backbones/embedded/{part}" for part in parts}
    whole = embedded(load_study(edited(tmp_path, {"backbone.source": "build"})))
    assert (given_models(whole), whole.built) == ({}, parts)
    half = embedded(load_study(edited(tmp_path, {"backbone.source": "build", "backbone.taken": ["sam", "vlm"]})))
    assert (set(given_models(half)), half.built) == ({"vlm", "sam"}, ["sam_medium", "sam_small"])


def test_taken_parts_are_frozen_by_what_their_files_are(tmp_path: Path) -> None:
    study = load_study(edited(tmp_path, {"backbone.source": "build", "backbone.taken": ["sam"]}))
    files = frozen_contents(study, Path.cwd())[Job("train_backbone")]["params"]["files"]
    folder = "backbones/embedded/sam"
    assert files == {"sam": {"folder": folder, "digest": folder_digest(Path(folder))}}


TOWER = {"layers": 1, "width": 32, "heads": 4, "mlp_width": 64}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"backbone.smaller_sams": {"vlm": TOWER}}, "backbone.smaller_sams: `vlm` cannot name a folder beside"),
        ({"backbone.smaller_sams": {"../sam": TOWER}}, "backbone.smaller_sams: `../sam` cannot name a folder beside"),
        ({"backbone.smaller_sams": {"": TOWER}}, "backbone.smaller_sams: `` cannot name a folder beside"),
        ({"backbone.taken": ["sam_tiny"]}, "backbone.taken: `sam_tiny` is no part; choose from vlm, sam, sam_medium, sam_small"),
        (
            {"backbone.source": "build", "backbone.taken": ["vlm", "sam", "sam_medium", "sam_small"]},
            "backbone.taken: names every part, so nothing is left to build",
        ),
        ({"backbone.sam.image_size": 100}, "backbone: image_size must be a multiple of patch_size"),
    ],
)
def test_what_cannot_be_is_one_sentence(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        load_study(edited(tmp_path, changes))
