"""Two clones give the same bytes, and so does a clone in which every stage was killed half-way and started again."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from segcompass.datasets.splits import COUNTERFACTUALS
from segcompass.reporting.captions.read import caption, captioned
from segcompass.study.jobs import ARTEFACTS
from tests.workflow.project import ROOT, command, copy_project, edit, planned, search_path

pytestmark = pytest.mark.study
MICRO = ROOT / "tests" / "workflow" / "micro.yaml"


def commands(root: Path) -> list[str]:
    """The shell commands of every job, in an order in which they can run."""
    text = command(root, "snakemake", "--cores", "1", "-n", "-p", "reproduce_all").stdout
    found = re.findall(r"python -m segcompass\.stages\.\S+ .*?(?= > logs)", text)
    order = list(ARTEFACTS)
    return sorted(found, key=lambda line: (order.index(line.split()[2].rpartition(".")[2]), "--like" in line))


def contents(root: Path) -> dict[str, bytes]:
    """Every file of every artefact but the run records."""
    files = [path for top in ("results", "reports") for path in (root / top).rglob("*") if path.is_file()]
    kept = [path for path in files if path.name != "run.json" and "frozen" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copy_project(tmp_path_factory.mktemp("whole"), MICRO)
    command(root, "snakemake", "--cores", "2", "--use-conda", "reproduce_all")
    return root


def start_and_kill(root: Path, line: str) -> bool:
    """Starts a stage and kills it with SIGKILL once it has saved something.

    Returns:
        Whether it was killed; false if it ended first.
    """
    out = root / line.split("--out ")[1].split()[0]
    partial = out.parent / ".partial" / out.name
    environment = os.environ | {"PATH": search_path()}
    process = subprocess.Popen(line.split(), cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        resume = partial / ".resume"
        saved = any(resume.iterdir()) if resume.is_dir() else partial.is_dir() and len(list(partial.iterdir())) > 1
        if saved:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.005)
    return process.returncode == -signal.SIGKILL


def test_every_stage_killed_and_started_again_ends_as_in_another_clone(whole: Path, tmp_path: Path) -> None:
    root = copy_project(tmp_path / "killed", MICRO)
    killed = set()
    for line in commands(root):
        if start_and_kill(root, line):
            killed.add(line.split()[2].rpartition(".")[2])
        done = command(root, *line.split(), check=False)
        assert done.returncode == 0, done.stderr
    assert killed >= {"prepare_data", "train_backbone", "train_sae", "train_interface", "train_joint", "evaluate_joint"}
    ours, theirs = contents(root), contents(whole)
    assert set(ours) == set(theirs)
    assert [name for name in theirs if ours[name] != theirs[name]] == []
    assert planned(root) == set()


def test_the_report_page_is_one_file(whole: Path) -> None:
    command(whole, "snakemake", "--report", "report.html", "reproduce_all")
    text = (whole / "report.html").read_text(encoding="utf-8")
    assert "summary.md" in text and not re.findall(r"<(?:script|link)[^>]+(?:src|href)=\"https?:", text)
    for kind, ending in (("figure", "png"), ("table", "html"), ("ledger", "html")):
        for name in captioned(kind):
            assert f"{name}.{ending}" in text and caption(kind, name).split("`")[0].split("'")[0][:40] in text, name
    assert "frozen into" in text, "the workflow's description"


def test_the_front_page_shows_what_was_exchanged_between_pairs(whole: Path) -> None:
    """The first pair of each attribute: the mask before and after two exchanges; beside it the areas and the calibration of the battery."""
    report = whole / "reports" / "default"
    assert "![pairs](figures/pairs.png)" in (report / "summary.md").read_text(encoding="utf-8")
    drawn = pd.read_csv(report / "figures" / "pairs.csv")
    masks = {str(name): list(part["mask"]) for name, part in drawn.groupby("attribute")}
    assert masks == {name: ["before", "attribute", "matched"] for name in COUNTERFACTUALS}
    areas = pd.read_csv(report / "tables" / "faithfulness.csv")
    assert set(areas["row"]) == {f"reference, {name}, {way}" for name in ("zero", "mean", "resample") for way in ("kept", "removed")}
    assert (report / "figures" / "calibration.pdf").is_file()


def test_a_report_from_artefacts_that_disagree_is_refused(whole: Path) -> None:
    summary = next(line for line in commands_of(whole) if "write_summary" in line)
    edit(whole, "results/default/joint/full/seed0/run.json", '"temperature": 1.0', '"temperature": 0.5')
    try:
        done = command(whole, *summary.split(), check=False)
    finally:
        edit(whole, "results/default/joint/full/seed0/run.json", '"temperature": 0.5', '"temperature": 1.0')
    assert done.returncode == 2 and "results/default/joint/full/seed0/run.json" in done.stderr and "Traceback" not in done.stderr


def commands_of(root: Path) -> list[str]:
    """As `commands`, of a study that is already built."""
    text = command(root, "snakemake", "--cores", "1", "-n", "-p", "--forceall", "reproduce_all").stdout
    return re.findall(r"python -m segcompass\.stages\.\S+ .*?(?= > logs)", text)
