"""The Kubernetes profile: what it submits, and jobs that end well and badly, with a stand-in for `kubectl` that runs them here."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.project import ROOT, command, copy_project, search_path
from tests.workflow.test_reproducibility import MICRO

pytestmark = pytest.mark.study
PROFILE = "workflow/profiles/kubernetes"
QUICK = ("--seconds-between-status-checks", "1", "--latency-wait", "5")
CACHE = "results/default/activations/layer2/run.json"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the stand-in's jobs."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    monkeypatch.setenv("FAKE_CLUSTER", str(folder))
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("fake_kubectl.py")} "$@"\n')
    program.chmod(0o755)
    return folder


def run(root: Path, *words: str, check: bool = True):
    path = os.pathsep.join([str(root.parent / "bin"), search_path()])
    return command(root, "snakemake", "--workflow-profile", PROFILE, *QUICK, *words, check=check, path=path)


def submitted(cluster: Path) -> list[dict]:
    return [json.loads((folder / "job.json").read_text()) for folder in sorted(cluster.iterdir())]


def test_jobs_ask_for_what_their_rules_do_and_one_that_fails_ends_the_run_with_its_sentence(cluster: Path, tmp_path: Path) -> None:
    root = copy_project(tmp_path / "project", MICRO)
    run(root, CACHE)
    needs = yaml.safe_load((root / PROFILE / "config.yaml").read_text())["set-resources"]
    template = yaml.safe_load((root / PROFILE / "job.yaml").read_text())
    jobs = {job["metadata"]["labels"]["rule"].replace("-", "_"): job for job in submitted(cluster)}
    assert set(jobs) == {"prepare_data", "train_backbone", "cache_activations"}
    for rule, job in jobs.items():
        (container,) = job["spec"]["template"]["spec"]["containers"]
        limits = {"cpu": "1", "memory": f"{needs[rule]['mem_mb']}M"} | ({"nvidia.com/gpu": "1"} if needs[rule].get("gpu") else {})
        assert container["resources"] == {"requests": limits, "limits": limits}
        assert job["spec"]["activeDeadlineSeconds"] == 60 * needs[rule]["runtime"]
        assert job["metadata"]["namespace"] == template["metadata"]["namespace"] and job["metadata"]["labels"]["app"] == "segcompass"
        assert container["image"] == template["spec"]["template"]["spec"]["containers"][0]["image"]
    assert (root / "results/default/activations/layer2/index.json").is_file()

    (root / "results/default/data/manifests/refcoco/train.jsonl").write_text("{}\n")
    done = run(root, "--forcerun", "cache_activations", "--", CACHE, check=False)
    assert done.returncode == 1 and len(submitted(cluster)) == len(jobs) + 1
    said = "\ncache_activations: results/default/data/manifests/refcoco/train.jsonl: line 1: is no sample"
    assert said in done.stderr, done.stderr


def test_whole_studies_are_planned() -> None:
    text = command(ROOT, "snakemake", "--workflow-profile", PROFILE, "-n", "--forceall", "smoke").stdout
    assert "write_summary" in text
