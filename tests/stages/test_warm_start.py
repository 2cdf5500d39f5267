"""The artefact of a warm start has the backbone's parts, a policy that loads with its new tokens, and is not published unlearnt."""

import csv
import json
from pathlib import Path

import pytest
import torch

from segcompass.backbone.load import load_vlm
from segcompass.errors import InputError
from segcompass.provenance.stage import Stage
from segcompass.stages import prepare_data, warm_start
from segcompass.study.jobs import Job, stage_params
from tests.checkpoints import save_llava
from tests.joint.conftest import run_job
from tests.tiny import micro_study
from tests.warm_start.prompts import SETTINGS

FEW = {"steps": 3, "prompts": 2, "samples": 4, "checkpoint_every": 1}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data of the micro study, which has gold thoughts, and a backbone of a random LLaVA and two folders in the place of SAMs."""
    root = tmp_path_factory.mktemp("inputs")
    run_job(prepare_data.work, Job("prepare_data"), root / "data", {})
    save_llava(root / "backbone" / "vlm")
    for name in ("sam", "sam_small"):
        (root / "backbone" / name).mkdir()
        (root / "backbone" / name / "model.safetensors").write_text(name)
    (root / "backbone" / "run.json").write_text("{}")
    return {"data": root / "data", "backbone": root / "backbone"}


def stage(folder: Path, inputs: dict[str, Path], least_valid: float) -> Stage:
    folder.mkdir()
    settings = SETTINGS.model_copy(update=FEW | {"least_valid": least_valid})
    params = stage_params(micro_study().model_copy(update={"warm_start": settings}), Job("warm_start"))
    return Stage("warm_start", params, {}, folder, inputs, {})


def test_the_artefact_has_the_parts_of_the_backbone_and_says_how_the_form_is_kept(inputs: dict[str, Path], tmp_path: Path) -> None:
    made = stage(tmp_path / "out", inputs, 0.0)
    warm_start.work(made)
    names = {path.name for path in made.folder.iterdir()} - {".resume"}
    assert names == {"vlm", "sam", "sam_small", "curves.csv", "scores.json"}
    for name in ("sam", "sam_small"):
        there, here = (folder / name / "model.safetensors" for folder in (inputs["backbone"], made.folder))
        assert there.stat().st_ino == here.stat().st_ino, "a SAM takes no room twice"
    study = micro_study()
    raw, warm = (load_vlm(folder / "vlm", study.runtime, study.answer) for folder in (inputs["backbone"], made.folder))
    before, after = dict(raw.named_parameters()), dict(warm.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("layers.2." in name or "norm" in name or "lm_head" in name for name in changed)
    assert "embed_tokens" in " ".join(before.keys() - changed) and raw.special == warm.special
    rows = list(csv.DictReader((made.folder / "curves.csv").open()))
    assert [row["step"] for row in rows] == ["0", "1", "2"] and all(float(row["cross_entropy"]) > 0 for row in rows)
    scores = json.loads((made.folder / "scores.json").read_text())
    assert set(scores) == {"before", "after"}
    assert set(scores["after"]) == {"all", "refcoco", "refcoco+", "refcocog", "grefcoco"} == set(scores["before"])
    assert made.rows["steps"] == 3 and made.rows["held_out"] == 4
    assert made.rows["with_gold_thought"] == made.rows["training_samples"] > 0
    assert made.facts["valid_answers"] == scores and sum(made.facts["statuses"].values()) == 4
    assert made.facts["trained_parameters"] == sum(value.numel() for name, value in before.items() if name in changed)


def test_a_policy_that_has_not_learnt_the_form_is_not_published(inputs: dict[str, Path], tmp_path: Path) -> None:
    made = stage(tmp_path / "out", inputs, 0.9)
    with pytest.raises(InputError, match=r"warm_start\.least_valid: is 0\.9, but .* keep the form, 0% on refcoco, 0% on refcoco\+"):
        warm_start.work(made)
    assert {path.name for path in made.folder.iterdir()} == {".resume"}
