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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segcompass.provenance.code_digest import stage_digest
from segcompass.provenance.folder_digest import annotation_digest, folder_digest, listing_digest
from segcompass.provenance.stage import fingerprint
from segcompass.study.backbone import given_models
from segcompass.study.claims import rule_digests
from segcompass.study.data import RootSettings, annotation_folders
from segcompass.study.jobs import ARTEFACTS, Job, all_jobs, stage_params
from segcompass.study.shard_jobs import ShardJob, number_of_shards, shard_pattern, shards_of
from segcompass.study.study import Study

LONG_AGO = 946_684_800.0
"""Modification time of a frozen file with which the artefact agrees: the first second of 2000 UTC."""
TIMESTAMP = ".snakemake_timestamp"
"""By which file's date Snakemake dates a folder, such as that of a shard."""


def frozen_path(study: str, job: Job) -> Path:
    """Where a job's frozen file lies, relative to the project's root."""
    name = "_".join(value for _, value in job.wildcards)
    return Path("results", study, "frozen", f"{job.stage}{f'.{name}' if name else ''}.json")


def benchmark_file(study: str, job: Job) -> Path:
    """Where Snakemake keeps what a job took, relative to the project's root."""
    pattern = shard_pattern(job.stage) if isinstance(job, ShardJob) else ARTEFACTS[job.stage]
    named = [part.format(**dict(job.wildcards)) for part in Path(pattern).parts[2:] if "{" in part]
    return Path("logs", study, job.stage, f"{'_'.join(named) or job.stage}.tsv")


def frozen_contents(study: Study, root: Path) -> dict[Job, dict[str, Any]]:
    """Stage, wildcards, params and code digest of every job, in the order of `all_jobs`, with the digests of the rules that decide claims.

    For data and models that no stage makes also what their files are, for the summary also what every other job's artefact must be.
    """
    jobs = all_jobs(study)
    # Every job of a stage runs the same code, and a digest reads all of it.
    digests = {stage: stage_digest(stage, root) for stage in {job.stage for job in jobs}}
    rules = rule_digests(study.claims)
    raw = study.model_dump(mode="json")
    corpus = study.activations.corpus
    listing = {corpus.path: listing_digest(root / corpus.path)} if corpus else None
    contents: dict[Job, dict[str, Any]] = {}
    for job in jobs:
        params = stage_params(study, job, raw)
        if job.stage == "prepare_data" and isinstance(study.data, RootSettings):
            params["files"] = {folder: annotation_digest(root / folder) for folder in annotation_folders(study.data)}
        if job.stage == "cache_activations" and listing:
            params["files"] = listing
        if job.stage == "train_backbone":
            given = given_models(study.backbone)
            params["files"] = {part: {"folder": folder, "digest": folder_digest(root / folder)} for part, folder in given.items()}
        if job.stage == "write_summary":
            params["expected"] = {str(other.artefact(study.study)): identity(content) for other, content in contents.items()}
        own = {"stage": job.stage, "wildcards": dict(job.wildcards), "params": params, "code": digests[job.stage]}
        contents[job] = own | {"rules": rules}
    return contents


def identity(content: dict[str, Any]) -> dict[str, Any]:
    """The part of a frozen file or of a `run.json` that must agree between the two; the rules of claims are none of it."""
    return {key: content.get(key) for key in ("stage", "wildcards", "params", "code")}


def freeze(study: Study, root: Path) -> dict[Job, Path]:
    """Freezes every job of a study with its shards, and takes away what is frozen of jobs that the study no longer has.

    Returns:
        Job -> its frozen file, relative to `root`; a `ShardJob` stands before the job that gathers it.
    """
    paths: dict[Job, Path] = {}
    agree: dict[str, bool] = {}
    for job, content in frozen_contents(study, root).items():
        folder = job.artefact(study.study)
        record = _read(root / folder / "run.json")
        agrees = bool(record) and is_current(record, content, root)
        # A job whose inputs are about to be made anew is divided as the study says now.
        agree[str(folder)] = stays = agrees and all(agree.get(given, True) for given in record["inputs"])
        shards = shards_of(job, len(record.get("shards", [])) if stays else number_of_shards(study, job))
        for shard in shards:
            own = content | {"wildcards": dict(shard.wildcards)}
            paths[shard] = _freeze_shard(study.study, shard, own, root, record if stays else None)
        paths[job] = _freeze(study.study, job, content, root, agrees)
        if agrees:
            _date_after(study.study, job, [*record["inputs"], *(str(shard.artefact(study.study)) for shard in shards)], root)
    kept = {root / path for path in paths.values()}
    for path in (root / "results" / study.study / "frozen").glob("*.json"):
        if path not in kept:
            path.unlink(missing_ok=True)  # another Snakemake of the same study may be first
    return paths


def _freeze(study: str, job: Job, content: dict[str, Any], root: Path, agrees: bool) -> Path:
    """Writes a job's frozen file if its content changed, and dates it by whether the artefact agrees; makers come before readers."""
    path = frozen_path(study, job)
    if not agrees and (root / job.artefact(study) / "run.json").is_file():
        # Snakemake overlooks a newer file whose bytes it has seen, as after `--touch`: so the bytes are new as well.
        content["stale_when_read"] = time.time_ns()
    _write_if_changed(root / path, json.dumps(content, indent=1, sort_keys=True) + "\n")
    if agrees:
        os.utime(root / path, (LONG_AGO, LONG_AGO))
    return path


def _freeze_shard(study: str, shard: ShardJob, content: dict[str, Any], root: Path, gathered: dict[str, Any] | None) -> Path:
    """The same for a shard; one that was `gathered` into an artefact that stays, of that record, is not stale, though it may be deleted."""
    record = gathered or _read(root / shard.artefact(study) / "run.json")
    agrees = gathered is not None or (bool(record) and is_current(record, content, root))
    path = _freeze(study, shard, content, root, agrees)
    if agrees:
        _date_after(study, shard, record["inputs"], root)
    return path


def _date_after(study: str, job: Job, inputs: Iterable[str], root: Path) -> None:
    """Dates an artefact that agrees no earlier than what it was made from: DVC and git restore files in any order, and shards that lie
    there may be those of another edit of the study. Snakemake dates a job by its benchmark file too."""
    held = [file for folder in inputs for file in (root / folder / "run.json", root / folder / TIMESTAMP) if file.is_file()]
    newest = max((file.stat().st_mtime_ns for file in held), default=0)
    for file in [*(root / job.artefact(study)).glob("*"), root / benchmark_file(study, job)]:
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
