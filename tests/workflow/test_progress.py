"""A line a finished job, from what Snakemake 9 said of a run of seven jobs on two cores, one of which failed; faults pass through."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from tests.workflow.project import ROOT

BEGINNING = """\
Assuming unrestricted shared filesystem usage.

SNAKEMAKE
=========
  Date: 2026-11-27 12:00:00
  Snakemake version: 9.27.1

Building DAG of jobs...
Provided cores: 2
Rules claiming more threads will be scaled down.
"""
TABLE = """\
Job stats:
job              count
-------------  -------
draw                 4
join                 1
fail                 1
reproduce_all        1
total                7
"""
DRAWS = """\

Select jobs to execute...
Execute 2 jobs...

[Fri Nov 27 12:00:00 2026]
localrule draw:
    output: results/study/draw/full/seed0.txt
    jobid: 2
    reason: Missing output files: results/study/draw/full/seed0.txt
    wildcards: study=study, variant=full, seed=0
    resources: tmpdir=/tmp
[Fri Nov 27 12:00:00 2026]
localrule draw:
    output: results/study/draw/dense/seed1.txt
    jobid: 5
    reason: Missing output files: results/study/draw/dense/seed1.txt
    wildcards: study=study, variant=dense, seed=1
    resources: tmpdir=/tmp
Select jobs to execute...
[Fri Nov 27 12:01:00 2026]
Finished jobid: 2 (Rule: draw)
1 of 7 steps (14%) done
Execute 1 jobs...

[Fri Nov 27 12:01:00 2026]
localrule draw:
    output: results/study/draw/full/seed1.txt
    jobid: 3
    reason: Missing output files: results/study/draw/full/seed1.txt
    wildcards: study=study, variant=full, seed=1
    resources: tmpdir=/tmp
[Fri Nov 27 12:02:00 2026]
Finished jobid: 5 (Rule: draw)
2 of 7 steps (29%) done
Select jobs to execute...
Execute 1 jobs...

[Fri Nov 27 12:02:00 2026]
localrule draw:
    output: results/study/draw/dense/seed0.txt
    jobid: 4
    reason: Missing output files: results/study/draw/dense/seed0.txt
    wildcards: study=study, variant=dense, seed=0
    resources: tmpdir=/tmp
[Fri Nov 27 12:03:00 2026]
Finished jobid: 3 (Rule: draw)
3 of 7 steps (43%) done
[Fri Nov 27 12:04:00 2026]
Finished jobid: 4 (Rule: draw)
4 of 7 steps (57%) done
Select jobs to execute...
Execute 1 jobs...

[Fri Nov 27 12:04:00 2026]
localrule join:
    input: results/study/draw/full/seed0.txt, results/study/draw/full/seed1.txt
    output: results/study/joined.txt
    jobid: 1
    reason: Missing output files: results/study/joined.txt
    resources: tmpdir=/tmp
[Fri Nov 27 12:05:00 2026]
Finished jobid: 1 (Rule: join)
5 of 7 steps (71%) done
Select jobs to execute...
Execute 1 jobs...

[Fri Nov 27 12:05:00 2026]
localrule fail:
    input: results/study/joined.txt
    output: results/study/late.txt
    log: logs/late.log
    jobid: 6
    reason: Missing output files: results/study/late.txt
    resources: tmpdir=/tmp
"""
FAULT = """\
results/study/data: has no manifest; run prepare_data.
RuleException:
CalledProcessError in file "Snakefile", line 14:
Command 'set -euo pipefail;  python -m segcompass.stages.fail' returned non-zero exit status 2.
Error in rule fail:
    message: None
    jobid: 6
    input: results/study/joined.txt
    output: results/study/late.txt
    log: logs/late.log (check log file(s) for error details)
    shell:
        python -m segcompass.stages.fail
        (command exited with non-zero exit code)
Shutting down, this might take some time.
Exiting because a job execution failed. Look above for error messages
WorkflowError:
At least one job did not complete successfully.
"""
# What is left is expected to take what jobs of its rule took, 60 s a core less what running jobs have done, at the pace of the work so far.
# 1: five of 60 s beside the one that runs and has done 60 of its own: 300 s, two at a time.
# 2: 5 x 90 - 60 at 120 s of clock for 240 s of work. 3: 4 x 100 - 60 at 180 for 360. 4: 3 x 105 at 240 for 420. 5: 2 x 96 at 300 for 480.
SECONDS_LEFT = [150.0, 195.0, 170.0, 180.0, 120.0]
LINES = """\
   1 of 7 (14 %)  draw full 0  60 s, about 2 min left
   2 of 7 (29 %)  draw dense 1  120 s, about 3 min left
   3 of 7 (43 %)  draw full 1  120 s, about 3 min left
   4 of 7 (57 %)  draw dense 0  120 s, about 3 min left
   5 of 7 (71 %)  join  60 s, about 2 min left
"""


@pytest.fixture(scope="module")
def progress() -> ModuleType:
    spec = spec_from_file_location("progress", ROOT / "workflow" / "scripts" / "progress.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Told:
    """What came of a text whose time is that of its last time stamp, in seconds after twelve."""

    def __init__(self, module: ModuleType, text: str) -> None:
        self.progress = module.Progress(0.0)
        self.shown: list[str] = []
        self.left: list[float] = []
        now = 0.0
        for line in text.splitlines():
            if found := re.match(r"\[\w+ \w+ \d+ 12:(\d+):(\d+) ", line):
                now = 60.0 * int(found[1]) + int(found[2])
            self.shown += self.progress.heard(line, now)
            if line.endswith("done"):
                self.left.append(self.progress.seconds_left(now))


def test_a_finished_job_is_a_line_with_share_and_time_left(progress: ModuleType) -> None:
    told = Told(progress, TABLE + DRAWS)
    assert told.shown == TABLE.splitlines() + LINES.splitlines()
    assert told.left == pytest.approx(SECONDS_LEFT)
    assert told.progress.left == {"draw": 0, "join": 0, "fail": 1, "reproduce_all": 1}


def test_what_is_no_account_of_a_job_passes_through(progress: ModuleType) -> None:
    told = Told(progress, BEGINNING + TABLE + DRAWS + FAULT)
    header = [line for line in BEGINNING.splitlines() if line]
    assert told.shown == header + TABLE.splitlines() + LINES.splitlines() + FAULT.splitlines()


def test_a_traceback_of_a_running_job_passes_through_in_full(progress: ModuleType) -> None:
    trace = ["Traceback (most recent call last):", '  File "stage.py", line 1, in <module>', "    work(stage)", "ValueError: three"]
    assert Told(progress, TABLE + DRAWS + "\n".join(trace)).shown[-4:] == trace


def test_the_last_job_says_what_the_whole_took(progress: ModuleType) -> None:
    end = "[Fri Nov 27 12:07:00 2026]\nFinished jobid: 6 (Rule: fail)\n6 of 7 steps (86%) done\n"
    target = "[Fri Nov 27 12:07:00 2026]\nlocalrule reproduce_all:\n    jobid: 0\n    resources: tmpdir=/tmp\n"
    told = Told(progress, TABLE + DRAWS + end + target + "Finished jobid: 0 (Rule: reproduce_all)\n7 of 7 steps (100%) done\n")
    assert told.shown[-1] == "   7 of 7 (100 %)  reproduce_all  0 s, done in 7 min"
    assert told.shown[-2].startswith("   6 of 7 (86 %)  fail  120 s, about 1 min left") and told.left[-1] == 0.0


def test_a_shard_is_told_by_its_wildcards_and_its_deletion_is_passed_over(progress: ModuleType) -> None:
    shard = "localrule cache_answers_shard:\n    jobid: 3\n    wildcards: study=default, part=gold, shard=2_of_8\n"
    text = f"[Fri Nov 27 12:00:00 2026]\n{shard}[Fri Nov 27 12:01:00 2026]\nFinished jobid: 3 (Rule: cache_answers_shard)\n"
    told = Told(progress, text + "1 of 1 steps (100%) done\nRemoving temporary output results/default/shards/answers/gold/2_of_8.\n")
    assert told.shown == ["   1 of 1 (100 %)  cache_answers_shard gold 2_of_8  60 s, done in 1 min"]


def test_nothing_is_promised_before_anything_has_ended(progress: ModuleType) -> None:
    told = Told(progress, TABLE + DRAWS.partition("Finished")[0])
    assert told.shown == TABLE.splitlines() and told.progress.seconds_left(100.0) == 0.0


def test_the_whole_text_is_kept(
    progress: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = BEGINNING + TABLE + DRAWS + FAULT
    assert progress.main(iter(text.splitlines(keepends=True))) == 0
    assert (tmp_path / "logs" / "snakemake.log").read_text() == text
    shown = capsys.readouterr().out.splitlines()
    assert len([line for line in shown if re.match(r" +\d of 7 \(\d+ %\)  ", line)]) == 5
    assert shown[-1] == FAULT.splitlines()[-1] and "jobid: 2" not in "".join(shown)


def test_a_failed_run_is_a_failed_command() -> None:
    """The pipe's exit code is Snakemake's, not that of the script that reads it."""
    makefile = (ROOT / "Makefile").read_text()
    assert "workflow/scripts/progress.py" in makefile and ".SHELLFLAGS := -o pipefail -c" in makefile
