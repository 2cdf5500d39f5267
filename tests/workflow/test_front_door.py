"""What a newcomer types: another study by name or by file, and a fault whose sentence is the last thing that she reads."""

import shutil
from pathlib import Path

import pytest

from tests.workflow.project import ROOT, command, copy_project

MICRO = ROOT / "tests" / "workflow" / "micro.yaml"
FAULTY = """
from segcompass.errors import InputError
from segcompass.provenance.stage import run_stage


def work(stage):
    raise InputError("file.json", "key", "is wrong; mend it")


raise SystemExit(run_stage("prepare_data", "", {}, work))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = copy_project(tmp_path / "project", MICRO)
    text = (root / "params" / "default.yaml").read_text(encoding="utf-8")
    (root / "params" / "mine.yaml").write_text(text.replace("study: default", "study: mine"), encoding="utf-8")
    return root


@pytest.mark.parametrize("words", [("--config", "study=mine"), ("--configfile", "params/mine.yaml")], ids=["config", "configfile"])
def test_snakemake_plans_the_study_that_is_named(project: Path, words: tuple[str, ...]) -> None:
    text = command(project, "snakemake", "--cores", "1", "-n", *words).stdout
    assert "reports/mine/run.json" in text and "default" not in text


def test_make_builds_and_resumes_the_study_that_is_named() -> None:
    for target in ("study", "resume"):
        lines = command(ROOT, "make", "-n", target, "STUDY=mine").stdout.splitlines()
        assert "reproduce_all --config study=mine " in [line for line in lines if line.startswith("snakemake")][-1]
    assert "study=default" in command(ROOT, "make", "-n", "resume").stdout


def test_a_configuration_that_would_be_ignored_ends_with_code_2_and_one_sentence(project: Path) -> None:
    shutil.copy(project / "params" / "mine.yaml", project / "elsewhere.yaml")
    done = command(project, "snakemake", "--cores", "1", "-n", "--configfile", "elsewhere.yaml", check=False)
    assert done.returncode == 2 and "is not read from here" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.study
def test_a_fault_in_a_job_is_the_last_thing_that_is_said(project: Path) -> None:
    (project / "segcompass/stages/prepare_data.py").write_text(FAULTY, encoding="utf-8")
    done = command(project, "snakemake", "--cores", "1", check=False)
    assert done.returncode == 1
    assert "prepare_data: file.json: key: is wrong; mend it." in done.stderr.splitlines()[-8:]
