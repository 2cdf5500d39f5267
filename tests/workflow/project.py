"""Copies of the project in which tests run Snakemake, DVC and git without touching the real one."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from segcompass.provenance.freeze import frozen_contents
from segcompass.provenance.stage import fingerprint
from segcompass.reporting.captions.read import captioned
from segcompass.study.load import load_study
from tests.instructions import instructions_under_test
from tests.workflow.warm import programs

ROOT = Path(__file__).parents[2]
PARTS = (
    "Snakefile",
    "profiles",
    "workflow",
    "segcompass",
    "dvc.yaml",
    "backbones/embedded/card.json",
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvc/plots",
    ".dvcignore",
    ".gitignore",
    "Makefile",
    "requirements.lock",
    "requirements-demo.lock",
    "pyproject.toml",
)
OUTPUTS = {
    "judge_claims": [f"{name}.html" for name in captioned("ledger")],
    "make_tables": [f"{name}.html" for name in captioned("table")],
    "make_figures": [f"{name}.png" for name in captioned("figure")],
    "make_atlas": ["atlas.html"],
    "write_summary": ["numbers.json", "metrics.json", "summary.md", "details.md"],
}
"""Files by which Snakemake knows an artefact, beside `run.json`."""


def copy_project(target: Path, study: Path) -> Path:
    """The project in `target`, with `study` as its only study, named default, under the instruction set that the tests run under."""
    for part in PARTS:
        source, copy = ROOT / part, target / part
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            copy.symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy)
    # What was read of modules is shared, as it is among a user's clones; all other caches are the copy's own.
    (target / ".xdg").mkdir()
    (target / ".xdg" / "segcompass").symlink_to(modules_read())
    (target / "params").mkdir()
    text = study.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^study: .*$", "study: default", text)
    text = re.sub(r"\binstruction_set: \w+", f"instruction_set: {instructions_under_test()}", text)
    (target / "params" / "default.yaml").write_text(text, encoding="utf-8")
    return target


def modules_read() -> Path:
    """Where the tests' own processes keep what they read of the package's modules."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segcompass"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def search_path() -> str:
    """PATH of what tests run."""
    return os.pathsep.join([str(programs()), str(Path(sys.executable).parent), os.environ["PATH"]])


def command(root: Path, *words: str, check: bool = True, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command in the copy, with the interpreter's own folder before all others on PATH but that of `warm.py`."""
    environment = os.environ | {"PATH": path or search_path(), "GIT_CONFIG_GLOBAL": os.devnull}
    environment |= {"XDG_CACHE_HOME": str(root / ".xdg"), "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def planned(root: Path, target: str = "reproduce_all") -> set[str]:
    """Jobs that Snakemake would run, as `rule` or `rule:value_value` of the wildcards other than the study."""
    text = command(root, "snakemake", "--cores", "1", "--use-conda", "-n", target).stdout
    jobs = set()
    for rule, body in re.findall(r"(?m)^(?:local)?rule (\w+):\n((?:    .*\n)+)", text):
        wildcards = dict(re.findall(r"(\w+)=([^,\s]+)", "".join(re.findall(r"wildcards: (.*)", body))))
        values = "_".join(value for key, value in sorted(wildcards.items(), reverse=True) if key != "study")
        jobs.add(f"{rule}:{values}" if values else rule)
    return jobs - {"reproduce_all", "smoke"}


def pretend_built(root: Path) -> None:
    """Gives every job of the default study an artefact whose `run.json` says what a real run's would, in the order of the DAG."""
    study = load_study(root / "params" / "default.yaml")
    for job, content in frozen_contents(study, root).items():
        folder = job.artefact(study.study)
        record = content | {"inputs": {}}
        record["fingerprint"] = fingerprint(record)
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "run.json").write_text(json.dumps(record))
        for name in OUTPUTS.get(job.stage, ()):
            (root / folder / name).write_text("{}")


def edit(root: Path, file: str, old: str, new: str) -> None:
    """Replaces a text that must stand exactly once in a file of the copy."""
    path = root / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file} holds {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new), encoding="utf-8")
