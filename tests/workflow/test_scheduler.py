"""Snakemake rests while jobs run (workflow/rules/scheduler.smk)."""

from pathlib import Path

from tests.workflow.project import ROOT, command

JOBS = 5
SNAKEFILE = """
include: "{rules}"
rule all:
    input: expand("done/{{job}}", job=range({jobs}))
rule job:
    output: "done/{{job}}"
    shell: "sleep 1 && touch {{output}}"
"""


def looks(root: Path, *words: str) -> int:
    """How often Snakemake looked at its jobs until all were done."""
    rules = ROOT / "workflow" / "rules" / "scheduler.smk"
    (root / "Snakefile").write_text(SNAKEFILE.format(rules=rules, jobs=JOBS), encoding="utf-8")
    said = command(root, "snakemake", "--cores", "1", "--verbose", *words).stderr
    assert all((root / "done" / str(job)).is_file() for job in range(JOBS))
    return said.count("Ready jobs: ")


def test_the_scheduler_looks_at_its_jobs_when_one_ends_and_at_no_other_time(tmp_path: Path) -> None:
    assert looks(tmp_path) <= JOBS + 1


def test_a_rate_that_stops_jobs_is_waited_for(tmp_path: Path) -> None:
    """Two jobs in three seconds: more looks than ends of jobs, or the run would wait for ever."""
    assert looks(tmp_path, "--max-jobs-per-timespan", "2/3s") > JOBS + 1
