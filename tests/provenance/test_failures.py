"""A failed run ends with the failed jobs' own sentences."""

from pathlib import Path

from segcompass.provenance.failures import failed_jobs

LOG = """Error in rule train_sae:
    message: None
    jobid: 3
    log: logs/default/train_sae/topk.log (check log file(s) for error details)
    shell:
        python -m segcompass.stages.train_sae

Removing output files of failed job.
Error in rule evaluate:
    jobid: 4
    log: logs/default/evaluate/full_seed0.log (check log file(s) for error details)
Error in rule train_sae:
    jobid: 3
    log: logs/default/train_sae/topk.log (check log file(s) for error details)
Error in rule intervene:
    jobid: 5
    log: logs/default/intervene/gone.log (check log file(s) for error details)
"""


def test_each_failed_job_is_one_line_and_a_traceback_is_no_sentence(tmp_path: Path) -> None:
    for name, text in {
        "train_sae/topk": "training: 3 steps\nsae_training.buffer_tokens: holds too few; raise it.\n",
        "evaluate/full_seed0": "Traceback (most recent call last):\n  x\nValueError: no.\n",
    }.items():
        path = tmp_path / f"logs/default/{name}.log"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert failed_jobs(LOG, tmp_path) == [
        "train_sae: sae_training.buffer_tokens: holds too few; raise it.",
        "evaluate: failed without a sentence; see logs/default/evaluate/full_seed0.log",
        "intervene: failed without a sentence; see logs/default/intervene/gone.log",
    ]


def test_a_run_without_failed_jobs_has_none(tmp_path: Path) -> None:
    assert failed_jobs("Nothing to be done.\n", tmp_path) == []
