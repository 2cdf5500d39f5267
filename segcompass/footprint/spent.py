"""What a study took: wall time, processor time and memory of its jobs, from the benchmark files that Snakemake leaves beside their logs."""

from pathlib import Path

import pandas as pd

from segcompass.errors import InputError
from segcompass.footprint.tables import Table
from segcompass.study.jobs import ARTEFACTS

COLUMNS = ("s", "cpu_time", "max_rss")
"""Wall seconds, processor seconds and peak memory in MB, as Snakemake names them."""


def spent(study: str, root: Path) -> pd.DataFrame:
    """One row a job: `stage`, `job` (its file's name), `end` (seconds since 1970) and `COLUMNS`.

    Args:
        study: the study's name.
        root: the project's root, below which `logs/<study>/<stage>/<job>.tsv` lie.

    Raises:
        InputError: no job of the study has left a benchmark file, or one cannot be read.
    """
    jobs = [(stage, path) for stage in ARTEFACTS for path in sorted((root / "logs" / study / stage).glob("*.tsv"))]
    if not jobs:
        raise InputError(root / "logs" / study, "", "holds no benchmark file of a job; run the study first")
    return pd.DataFrame([{"stage": stage, "job": path.stem, "end": path.stat().st_mtime, **_measured(path)} for stage, path in jobs])


def spent_table(study: str, root: Path) -> Table:
    """One row a stage, in the order of the pipeline, and one for the whole study; arguments and errors as of `spent`."""
    frame = spent(study, root)
    rows = [_row(stage, part) for stage, part in frame.groupby("stage", sort=False)]
    minutes = _covered(list(zip(frame["end"] - frame["s"], frame["end"], strict=True))) / 60
    header = ["stage", "jobs", "longest job, minutes", "all jobs, minutes", "processor minutes", "peak memory, MB"]
    return Table(f"{study}: {minutes:.1f} minutes in which a job ran", header, [*rows, _row("all", frame)])


def _covered(spans: list[tuple[float, float]]) -> float:
    """Seconds that lie in at least one of the spans, so that a pause before a resumed run does not count."""
    seconds, reached = 0.0, 0.0
    for start, end in sorted(spans):
        seconds += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return seconds


def _row(name: object, part: pd.DataFrame) -> list[str]:
    minutes = part["s"] / 60
    cells = [f"{minutes.max():.1f}", f"{minutes.sum():.1f}", f"{part['cpu_time'].sum() / 60:.1f}", f"{part['max_rss'].max():,.0f}"]
    return [str(name), str(len(part)), *cells]


def _measured(path: Path) -> dict[str, float]:
    """The last row of a benchmark file."""
    try:
        last = pd.read_csv(path, sep="\t").iloc[-1]
        return {name: float(last[name]) for name in COLUMNS}
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(path, ", ".join(COLUMNS), f"cannot be read ({error}); delete it and run its job again") from error
