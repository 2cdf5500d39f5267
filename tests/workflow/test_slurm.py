"""The Slurm profile, run by a real Slurm: `make test-slurm`, no part of `make test`, for it takes minutes and the system's packages.

The micro study goes through `workflow/profiles/slurm`, every job submitted with sbatch, and ends with the bytes that it has without Slurm.
"""

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import yaml

from segcompass.study.jobs import all_jobs
from segcompass.study.load import load_study
from tests.workflow.project import ROOT, command, copy_project
from tests.workflow.slurm import MISSING, jobs, missing_programs, slurm
from tests.workflow.test_reproducibility import MICRO, contents

pytestmark = pytest.mark.slurm
PROFILE = "workflow/profiles/slurm"
QUICK = ("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1", "--latency-wait", "5")
"""Of Snakemake: how often it asks for its jobs, which decides nothing but how long the test takes."""


@pytest.fixture(scope="module")
def cluster():
    if lacking := missing_programs():
        pytest.fail(f"{MISSING}; not found: {', '.join(lacking)}", pytrace=False)
    needs = yaml.safe_load((ROOT / PROFILE / "config.yaml").read_text(encoding="utf-8"))["set-resources"]
    # A short path: one of its files is a socket.
    with tempfile.TemporaryDirectory(prefix="slurm") as folder:
        largest = max(need["mem_mb"] for need in needs.values())
        with slurm(Path(folder), cpus=2, memory_mb=2 * largest) as environment:
            yield environment


def test_the_profile_sends_every_job_to_slurm_with_its_resources_and_the_bytes_are_those_of_a_plain_run(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    plain, sent = copy_project(tmp_path / "plain", MICRO), copy_project(tmp_path / "sent", MICRO)
    command(plain, "snakemake", "--cores", "2", "reproduce_all")
    # Jobs are started as on a cluster: each by an interpreter of its own, which does not know the test's server.
    path = os.pathsep.join([str(Path(sys.executable).parent), cluster["PATH"]])
    command(sent, "snakemake", "--workflow-profile", PROFILE, *QUICK, "reproduce_all", path=path)
    assert contents(sent) == contents(plain)

    study = load_study(sent / "params" / "default.yaml")
    expected = Counter(job.stage for job in all_jobs(study))
    needs = yaml.safe_load((sent / PROFILE / "config.yaml").read_text(encoding="utf-8"))["set-resources"]
    seen = jobs(cluster)
    assert {job["JobState"] for job in seen} == {"COMPLETED"}
    found = Counter()
    for job in seen:
        rule = next(name for name in needs if job["Comment"].startswith(f"rule_{name}"))
        found[rule] += 1
        booked = dict(part.partition("=")[::2] for part in job["TRES"].split(","))
        assert job["TimeLimit"] == minutes(needs[rule]["runtime"])
        assert booked["mem"] in (f"{needs[rule]['mem_mb']}M", f"{needs[rule]['mem_mb'] / 1024:g}G", f"{needs[rule]['mem_mb'] / 1000:g}G")
        assert booked.get("gres/gpu", "0") == str(needs[rule].get("gpu", 0)) and booked["cpu"] == str(study.threads)
    assert found == expected


def minutes(count: int) -> str:
    """A time limit as Slurm writes it."""
    days, rest = divmod(count, 24 * 60)
    return (f"{days}-" if days else "") + f"{rest // 60:02d}:{rest % 60:02d}:00"
