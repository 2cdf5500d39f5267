"""DVC around Snakemake: the receipt (`dvc.lock`) and the artefacts always agree, and nothing is redone needlessly."""

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.workflow.project import ROOT, command, copy_project, edit, planned, search_path

pytestmark = pytest.mark.study
REPORT_RULES = {"make_figures", "write_summary"}
SHARDS = "{cache_activations: 3, cache_answers: 1, evaluate_interface: 1, evaluate_joint: 1}"


def git(root: Path, *words: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return command(root, "git", *identity, *words).stdout


def commit(root: Path, message: str) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)


def jobs_run(output: str) -> set[str]:
    """Rules of the jobs that a Snakemake output says were run."""
    return {line.split()[-1].rstrip(":") for line in output.splitlines() if line.startswith(("rule ", "localrule "))} - {"reproduce_all"}


def run_record(root: Path, artefact: str) -> dict:
    return json.loads((root / artefact / "run.json").read_text())


def lock(root: Path) -> dict:
    return yaml.safe_load((root / "dvc.lock").read_text())["stages"]


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project built once by `dvc repro`, committed, with a local remote."""
    base = tmp_path_factory.mktemp("stories")
    root = copy_project(base / "project", ROOT / "tests" / "workflow" / "micro.yaml")
    git(root, "init", "-q")
    (root / ".dvc" / "tmp").mkdir(exist_ok=True)
    command(root, "python", "workflow/scripts/offline_plots_template.py")
    command(root, "dvc", "remote", "add", "-q", "-d", "store", str(base / "remote"))
    commit(root, "Project")
    command(root, "dvc", "repro")
    commit(root, "Built")
    command(root, "dvc", "push", "-q")
    return root


@pytest.fixture
def project(reproduced: Path, tmp_path: Path) -> Path:
    """The built project in a folder of its own, dates of files kept."""
    shutil.copytree(reproduced, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


def clone(reproduced: Path, target: Path) -> Path:
    command(target.parent, "git", "clone", "-q", str(reproduced), str(target))
    (target / ".dvc" / "tmp").mkdir(exist_ok=True)
    command(target, "dvc", "pull", "-q")
    return target


def test_repro_builds_the_study_and_both_tools_are_content(project: Path) -> None:
    assert planned(project) == set()
    assert "up to date" in command(project, "dvc", "status").stdout
    shown = command(project, "dvc", "metrics", "show").stdout
    assert "gIoU.refcoco val" in shown and len(shown) < 3000, "headline numbers alone"
    page = project / "plots"
    command(project, "dvc", "plots", "show", "-o", str(page))
    text = (page / "index.html").read_text()
    assert "vegaEmbed" in text and 'src="http' not in text


def test_an_edit_runs_what_it_reaches_and_lock_and_artefacts_agree(project: Path) -> None:
    edit(project, "params/default.yaml", "qualitative_samples: 2", "qualitative_samples: 1")
    edit(project, "params/default.yaml", "    sham: 2", "    sham: 1")
    assert "sham" in command(project, "dvc", "params", "diff").stdout
    output = command(project, "dvc", "repro")
    assert jobs_run(output.stdout + output.stderr) == {"intervene", "judge_claims", "make_atlas", "make_tables"} | REPORT_RULES
    assert run_record(project, "results/default/intervene/reference/seed0")["params"]["intervention"]["sham"] == 1
    recorded = lock(project)["intervene"]["params"]["params/default.yaml"]
    assert recorded["analysis.intervention"]["sham"] == 1
    assert "up to date" in command(project, "dvc", "status").stdout
    assert planned(project) == set()
    command(project, "dvc", "metrics", "diff")


def test_a_pulled_clone_has_nothing_to_do(reproduced: Path, tmp_path: Path) -> None:
    root = clone(reproduced, tmp_path / "clone")
    assert planned(root) == set()
    assert "up to date" in command(root, "dvc", "status").stdout
    command(root, "dvc", "plots", "show")
    assert (root / "dvc_plots" / "index.html").is_file(), "before the offline page is made, DVC's own serves"
    assert git(root, "status", "--porcelain") == ""


def test_an_edit_in_a_pulled_clone_rebuilds_what_it_reaches_and_records_nothing_stale(reproduced: Path, tmp_path: Path) -> None:
    root = clone(reproduced, tmp_path / "clone")
    edit(root, "params/default.yaml", "temperature: 1.0", "temperature: 0.9")
    output = command(root, "dvc", "repro")
    ran = jobs_run(output.stdout + output.stderr)
    assert ran == {"train_joint", "evaluate_joint", "judge_claims", "make_tables"} | REPORT_RULES
    record = run_record(root, "results/default/joint/full/seed0")
    assert record["params"]["joint"]["policy"]["temperature"] == 0.9
    assert lock(root)["train_joint"]["params"]["params/default.yaml"]["joint"]["policy"]["temperature"] == 0.9
    assert planned(root) == set()


def test_an_experiment_leaves_nothing_stale_for_snakemake(project: Path) -> None:
    """DVC writes the small number as `1e-05`; every stage that reads the threshold is redone, training included."""
    output = command(project, "dvc", "exp", "run", "-S", "params/default.yaml:evaluation.confidence_threshold=1e-5")
    readers = {"train_joint", "evaluate_interface", "evaluate_joint", "intervene"}
    assert readers <= jobs_run(output.stdout + output.stderr)
    for run in ("joint/full", "intervene/reference"):
        assert run_record(project, f"results/default/{run}/seed0")["params"]["confidence_threshold"] == 1e-5
    for run in ("interface/reference", "signals/full"):
        assert run_record(project, f"results/default/evaluate/{run}/seed0")["params"]["evaluation"]["confidence_threshold"] == 1e-5
    assert planned(project) == set()


def test_another_commit_and_back_leaves_nothing_to_do(project: Path) -> None:
    first = git(project, "rev-parse", "--abbrev-ref", "HEAD").strip()
    git(project, "checkout", "-q", "-b", "other")
    edit(project, "params/default.yaml", "qualitative_samples: 2", "qualitative_samples: 1")
    commit(project, "Other")
    assert planned(project) == REPORT_RULES
    git(project, "checkout", "-q", first)
    assert planned(project) == set()
    assert "up to date" in command(project, "dvc", "status").stdout


@pytest.mark.parametrize(
    "words", [("snakemake", "--cores", "1", "--use-conda", "reproduce_all"), ("dvc", "repro")], ids=["snakemake", "dvc"]
)
def test_a_killed_run_is_resumed_by_one_command(project: Path, words: tuple[str, ...]) -> None:
    expected = {
        path.name: path.read_bytes() for path in (project / "results/default/joint/full/seed0").iterdir() if path.name != "run.json"
    }
    shutil.rmtree(project / "results/default/joint/full/seed0")
    process = subprocess.Popen(
        words,
        cwd=project,
        env={"PATH": search_path(), "HOME": str(project)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    partial = project / "results/default/joint/full/.partial/seed0"
    deadline = time.monotonic() + 120
    while not partial.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert partial.exists(), "the job was under way"
    process.send_signal(signal.SIGKILL)
    process.wait()
    command(project, "snakemake", "--unlock")
    command(project, *words)
    resumed = {path.name: path.read_bytes() for path in (project / "results/default/joint/full/seed0").iterdir() if path.name != "run.json"}
    assert resumed == expected
    assert planned(project) == set()


def test_shards_of_a_killed_run_are_kept_and_the_number_of_them_changes_nothing(project: Path) -> None:
    """Killed once a drawn number of three shards have ended and the next is under way; then gathered by DVC's stage."""
    finished = random.Random(4).choice((1, 2))
    cache = project / "results/default/activations/layer1"
    expected = {path.name: path.read_bytes() for path in cache.iterdir() if path.name != "run.json"}
    rows = run_record(project, "results/default/activations/layer1")["rows"]
    edit(project, "params/default.yaml", "\nthreads: 1\n", f"\nthreads: 1\nshards: {SHARDS}\n")
    assert planned(project) == set()
    shutil.rmtree(cache)
    process = subprocess.Popen(
        ("snakemake", "--cores", "1", "--use-conda", "results/default/activations/layer1/run.json"),
        cwd=project,
        env={"PATH": search_path(), "HOME": str(project)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    shards = project / "results/default/shards/activations/layer1"
    deadline = time.monotonic() + 240
    while len(done := list(shards.glob("*_of_3/run.json"))) < finished or not list(shards.glob(".partial/*_of_3")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path.parent.name: json.loads(path.read_text()) for path in done}
    command(project, "snakemake", "--unlock")
    command(project, "dvc", "repro", "-s", "cache_activations")
    record = run_record(project, "results/default/activations/layer1")
    assert {path.name: path.read_bytes() for path in cache.iterdir() if path.name != "run.json"} == expected
    assert record["rows"] == rows and len(record["shards"]) == 3
    for name, shard in kept.items():
        assert record["shards"][int(name[0]) - 1]["seconds"] == shard["seconds"], "it was not made again"
    assert not (project / "results/default/shards").exists() and planned(project) == set()
    edit(project, "params/default.yaml", f"shards: {SHARDS}\n", "")
    assert planned(project) == set() and "up to date" in command(project, "dvc", "status", "cache_activations").stdout


def test_a_clone_that_pulls_what_was_gathered_misses_no_shards(project: Path, tmp_path: Path) -> None:
    shutil.rmtree(project / "results/default/activations/layer1")
    edit(project, "params/default.yaml", "\nthreads: 1\n", f"\nthreads: 1\nshards: {SHARDS}\n")
    command(project, "dvc", "repro")
    assert len(run_record(project, "results/default/activations/layer1")["shards"]) == 3
    commit(project, "In shards")
    command(project, "dvc", "push", "-q")
    root = clone(project, tmp_path / "clone")
    assert planned(root) == set() and "up to date" in command(root, "dvc", "status").stdout
