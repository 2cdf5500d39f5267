"""Prints the `run.json` of every job of a stage, for command lines that build one stage.

`python -m segcompass.study.targets params/default.yaml train_joint`
"""

import argparse
import sys
from pathlib import Path

from segcompass.errors import InputError
from segcompass.study.jobs import ARTEFACTS, all_jobs
from segcompass.study.load import load_study


def main(argv: list[str] | None = None) -> int:
    """Prints one path a line; exit code 2 with one sentence if the study file is at fault."""
    parser = argparse.ArgumentParser(prog="python -m segcompass.study.targets", description=__doc__)
    parser.add_argument("study_file", type=Path)
    parser.add_argument("stage", choices=ARTEFACTS)
    given = parser.parse_args(argv)
    try:
        study = load_study(given.study_file)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    for job in all_jobs(study):
        if job.stage == given.stage:
            print(job.artefact(study.study) / "run.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
