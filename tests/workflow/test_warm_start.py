"""A study with a warm start reads the policy that came out of it, and one that loses or gains it is stale where the policy is read."""

import json
import re
import shutil
from pathlib import Path

import pytest

from segcompass.study.policy import POLICY_READERS
from tests.workflow.project import ROOT, command, copy_project, edit, planned, pretend_built

SECTION = (
    "warm_start: {steps: 2, prompts: 2, learning_rate: 1.0e-3, warmup_fraction: 0.1, final_fraction: 0.1, clip_norm: 1.0, "
    "samples: 4, least_valid: 0.0, seed: 0, checkpoint_every: 1}"
)
MICRO = ROOT / "tests" / "workflow" / "micro.yaml"


def project(folder: Path) -> Path:
    root = copy_project(folder, MICRO)
    edit(root, "params/default.yaml", "warm_start: null", SECTION)
    return root


def backbones(root: Path) -> dict[str, set[str]]:
    """Stage -> the backbones that its planned commands name."""
    text = command(root, "snakemake", "--cores", "1", "-n", "-p", "--forceall", "reproduce_all").stdout
    found: dict[str, set[str]] = {}
    for stage, words in re.findall(r"-m segcompass\.stages\.(\w+) (.*)", text):
        if named := re.findall(r"--backbone results/default/(\w+)/run\.json", words):
            found.setdefault(stage, set()).update(named)
    return found


@pytest.mark.parametrize("on_the_fly", ["false", "true"])
def test_every_reader_of_the_policy_is_given_the_warm_started_one(on_the_fly: str, tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    edit(root, "params/default.yaml", "on_the_fly: false", f"on_the_fly: {on_the_fly}")
    own = {"warm_start": {"backbone"}, "embed_images": {"backbone"}}
    lacks = "train_sae" if on_the_fly == "false" else "cache_activations"
    assert backbones(root) == own | {stage: {"warm_start"} for stage in POLICY_READERS if stage != lacks}


def test_a_study_that_gains_or_loses_its_warm_start_is_stale_behind_it(tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    pretend_built(root)
    assert planned(root) == set()
    edit(root, "params/default.yaml", SECTION, "warm_start: null")
    stale = {job.partition(":")[0] for job in planned(root)}
    assert set(POLICY_READERS) - {"train_sae"} <= stale and not {"prepare_data", "train_backbone", "embed_images", "warm_start"} & stale


@pytest.mark.study
def test_cached_answers_are_those_of_the_warm_started_policy(tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    target = "results/default/answers/training/run.json"
    command(root, "snakemake", "--cores", "1", target)
    results = root / "results/default"
    record = json.loads((results / "answers/training/run.json").read_text())
    made = json.loads((results / "warm_start/run.json").read_text())
    assert record["inputs"]["results/default/warm_start"] == made["fingerprint"]
    assert made["rows"]["steps"] == 2 and set(made["facts"]["valid_answers"]) == {"before", "after"}
    assert {path.name for path in (results / "warm_start").iterdir()} >= {
        "vlm",
        "sam",
        "sam_small",
        "curves.csv",
        "scores.json",
        "run.json",
    }
    assert planned(root, target) == set()
    again = tmp_path / "again"
    shutil.copytree(root, again, symlinks=True)
    shutil.rmtree(again / "results/default/warm_start")
    command(again, "snakemake", "--cores", "1", "results/default/warm_start/run.json")
    for name in ("vlm/model.safetensors", "curves.csv", "scores.json"):
        there, here = (folder / "results/default/warm_start" / name for folder in (root, again))
        assert there.read_bytes() == here.read_bytes(), name
