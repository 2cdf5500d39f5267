"""What went wrong in a run of the pipeline, job by job, in the jobs' own sentences: what Snakemake prints around them hides them."""

import re
from pathlib import Path


def failed_jobs(snakemake_log: str, root: Path) -> list[str]:
    """One line a failed job: the rule, and the sentence of its log; where the log ends in no sentence, which log to read.

    Args:
        snakemake_log: what Snakemake wrote to its own log file.
        root: folder that the logs' paths are relative to.
    """
    found = {}
    for rule, body in re.findall(r"(?m)^Error in rule (\w+):\n((?:    .*\n)+)", snakemake_log):
        log = re.search(r"(?m)^    log: (\S+)", body)
        if log:
            found[log[1]] = f"{rule}: {_last_sentence(root / log[1]) or f'failed without a sentence; see {log[1]}'}"
    return list(found.values())


def _last_sentence(log: Path) -> str | None:
    try:
        text = log.read_text(encoding="utf-8", errors="replace").rstrip()
    except OSError:
        return None
    last = text.splitlines()[-1] if text else ""
    return last if last.endswith(".") and "Traceback (most recent call last)" not in text else None
