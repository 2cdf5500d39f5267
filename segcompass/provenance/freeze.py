"""Freezes what a job depends on besides its input files: its keys of the study and the digest of its code.

Each job's frozen file is an input of its rule, so ordinary modification times make Snakemake rerun exactly the jobs
that an edit reaches, with or without Snakemake's own metadata. A frozen file is old when the artefact's `run.json`
records the same keys, code and inputs, and new when it does not:
* an edit that is taken back reruns nothing,
* a fresh clone whose artefacts came out of DVC, in any order, reruns nothing that agrees,
* artefacts restored for other keys are seen as stale although they are newer than every input.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from segcompass.provenance.code_digest import stage_digest
from segcompass.provenance.folder_digest import annotation_digest, folder_digest
from segcompass.provenance.stage import fingerprint
from segcompass.study.backbone import given_models
from segcompass.study.data import RootSettings, annotation_folders
from segcompass.study.jobs import Job, all_jobs, stage_params
from segcompass.study.study import Study

LONG_AGO = 946_684_800.0
"""Modification time of a frozen file with which the artefact agrees: the first second of 2000 UTC."""


def frozen_path(study: str, job: Job) -> Path:
    """Where a job's frozen file lies, relative to the project's root."""
    name = "_".join(value for _, value in job.wildcards)
    return Path("results", study, "frozen", f"{job.stage}{f'.{name}' if name else ''}.json")


def frozen_content(study: Study, job: Job, root: Path) -> dict[str, Any]:
    """Stage, wildcards, params and code digest of a job; for data and models that
    no stage makes also what their files are, for the summary also what every other job's artefact must be."""
    content: dict[str, Any] = {
        "stage": job.stage,
        "wildcards": dict(job.wildcards),
        "params": stage_params(study, job),
        "code": stage_digest(job.stage, root),
    }
    if job.stage == "prepare_data" and isinstance(study.data, RootSettings):
        content["params"]["files"] = {folder: annotation_digest(root / folder) for folder in annotation_folders(study.data)}
    if job.stage == "train_backbone":
        content["params"]["files"] = {
            part: {"folder": folder, "digest": folder_digest(root / folder)} for part, folder in given_models(study.backbone).items()
        }
    if job.stage == "write_summary":
        content["params"]["expected"] = {
            str(other.artefact(study.study)): identity(frozen_content(study, other, root))
            for other in all_jobs(study)
            if other.stage != "write_summary"
        }
    return content


def identity(content: dict[str, Any]) -> dict[str, Any]:
    """The part of a frozen file or of a `run.json` that must agree between the two."""
    return {key: content.get(key) for key in ("stage", "wildcards", "params", "code")}


def freeze(study: Study, job: Job, root: Path) -> Path:
    """Writes a job's frozen file if its content changed, and dates it by whether the artefact agrees; jobs in the order of `all_jobs`.

    Returns:
        The file's path relative to `root`.
    """
    content = frozen_content(study, job, root)
    path = frozen_path(study.study, job)
    record_path = root / job.artefact(study.study) / "run.json"
    stale = record_path.is_file() and not is_current(_read(record_path), content, root)
    if stale:
        # Snakemake overlooks a newer file whose bytes it has seen, as after `--touch`: so the bytes are new as well.
        content["stale_when_read"] = time.time_ns()
    _write_if_changed(root / path, json.dumps(content, indent=1, sort_keys=True) + "\n")
    if record_path.is_file() and not stale:
        os.utime(root / path, (LONG_AGO, LONG_AGO))
        _date_after_inputs([root / file for file in job.outputs(study.study)], _read(record_path), root)
    return path


def _date_after_inputs(outputs: list[Path], record: dict[str, Any], root: Path) -> None:
    """Dates an artefact that agrees no earlier than what it was made from: DVC and git restore files in any order."""
    newest = max(((root / folder / "run.json").stat().st_mtime_ns for folder in record["inputs"]), default=0)
    for file in outputs:
        if file.is_file() and file.stat().st_mtime_ns < newest:
            os.utime(file, ns=(newest, newest))


def _write_if_changed(target: Path, text: str) -> None:
    if target.is_file() and target.read_text(encoding="utf-8") == text:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(target)


def is_current(record: dict[str, Any], content: dict[str, Any], root: Path) -> bool:
    """Whether a `run.json` is that of a job with this frozen content, made from the inputs that now lie on disk."""
    if identity(record) != json.loads(json.dumps(identity(content))) or record.get("fingerprint") != fingerprint(record):
        return False
    return all(_read(root / folder / "run.json").get("fingerprint") == mark for folder, mark in record["inputs"].items())


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, OSError):
        return {}
