"""What every stage does around its work: flags, frozen keys, atomic artefact, `run.json`, exit codes.

A stage fills a partial folder beside its artefact; the folder takes the artefact's name only when it is complete.
A killed stage leaves its partial folder, with whatever resume points it saved there, and the next run of the same
job (same keys, same code, same inputs) goes on from them. A lock keeps two runs of one job apart, so that a job
orphaned by a killed scheduler and its restarted twin follow each other.
"""

import argparse
import fcntl
import gc
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from segcompass.errors import FULL, InputError, damaged
from segcompass.instruction_set import is_pinned
from segcompass.provenance.new_folder import open_to_readers
from segcompass.provenance.processor import lacks_avx2, processor
from segcompass.provenance.shards import FLAG, check_shards, recorded_shards

RECORDED_PACKAGES = (
    "numpy",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "scipy",
    "pandas",
    "matplotlib",
    "pillow",
    "pycocotools",
)


@dataclass
class Stage:
    """One running stage."""

    name: str
    params: dict[str, Any]
    """The job's own keys of the study."""
    wildcards: dict[str, str]
    folder: Path
    """Partial folder to fill; files already in it are resume points of a killed run of the same job."""
    inputs: dict[str, Path]
    """Flag -> folder of the artefact that was given."""
    collections: dict[str, list[Path]]
    """Flag -> folders, for the flags that take several artefacts."""
    rows: dict[str, int] = field(default_factory=dict)
    """Row counts (of tables, samples, tokens) to record in `run.json`."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Further figures to record in `run.json`: seed, device, losses."""

    def resume_folder(self) -> Path:
        """A folder for resume points; it is deleted before the artefact is published."""
        path = self.folder / ".resume"
        path.mkdir(exist_ok=True)
        return path


def run_stage(
    name: str,
    doc: str,
    flags: dict[str, str],
    work: Callable[[Stage], None],
    argv: list[str] | None = None,
    several_processes: bool = False,
) -> int:
    """Runs a stage from its command line.

    Args:
        name: the stage, which is also its rule's name.
        doc: the stage's description for `--help`.
        flags: flag without dashes -> help, one for each input. A value is an artefact's folder or its `run.json`. A flag whose
            help starts with "optional" may be left out, one whose help starts with "all" or "optional: all" takes several artefacts.
        work: fills `stage.folder`.
        argv: command line, `sys.argv` if None.
        several_processes: whether `work` divides itself among the processes of `accelerate launch`. Each of them calls it; the one of rank
            0 claims the folder, fills it and publishes it, and the others wait for it before they look into the folder.

    Returns:
        Exit code: 0, or 2 with one sentence on standard error for an `InputError`.
    """
    if not gc.isenabled():  # segcompass/stages/__init__.py: what has been imported stays, and need not be looked through again
        gc.freeze()
        gc.enable()
    parser = argparse.ArgumentParser(prog=f"python -m segcompass.stages.{name}", description=doc)
    parser.add_argument("--params", type=Path, required=True, help="frozen keys of this job (results/<study>/frozen/…)")
    for flag, text in flags.items():
        count = "+" if text.removeprefix("optional: ").startswith("all") else None
        parser.add_argument(f"--{flag}", type=_artefact_folder, nargs=count, required=not text.startswith("optional"), help=text)
    parser.add_argument("--out", type=Path, required=True, help="folder of the artefact")
    given = vars(parser.parse_args(argv))
    values = {flag: given[flag.replace("-", "_")] for flag in flags if given[flag.replace("-", "_")] is not None}
    collections = {flag: value for flag, value in values.items() if isinstance(value, list)}
    inputs = {flag: value for flag, value in values.items() if flag not in collections}
    main = os.environ.get("RANK", "0") == "0"
    try:
        if not several_processes:
            _refuse_several_processes(name)
        frozen = _frozen(given["params"], name)
        for flag, path in [*inputs.items(), *((flag, path) for flag, paths in collections.items() for path in paths)]:
            if not path.exists():
                raise InputError(path, f"--{flag}", "does not exist; run the stage that makes it first")
        if main:
            with _published(name, frozen, inputs, collections, given["out"]) as stage:
                work(stage)
        else:
            work(Stage(name, frozen["params"], frozen["wildcards"], _partial(given["out"]), inputs, collections))
    except InputError as error:
        if main:  # every process finds the same fault
            print(error, file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in FULL:
            raise
        problem = f"cannot be written ({error.strerror}); free space and start again, which goes on from the last resume point"
        print(InputError(given["out"], "--out", problem), file=sys.stderr)
        return 2
    return 0


def fingerprint(record: dict[str, Any]) -> str:
    """SHA-256 of a run's stage, wildcards, params, code and the fingerprints of its inputs."""
    keys = ("stage", "wildcards", "params", "code", "inputs")
    return hashlib.sha256(json.dumps({key: record.get(key) for key in keys}, sort_keys=True).encode()).hexdigest()


def read_run(artefact: Path) -> dict[str, Any]:
    """The `run.json` of an artefact's folder.

    Raises:
        InputError: it is missing or damaged.
    """
    path = artefact / "run.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(path, "", "is missing; name a folder that a stage has made, or start the pipeline, which makes it") from error
    except (OSError, ValueError, TypeError) as error:
        raise damaged(artefact, "run.json", f"is damaged ({error})") from error


def _frozen(path: Path, name: str) -> dict[str, Any]:
    try:
        frozen = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(path, "--params", "is not a frozen file; run `snakemake -n` to write it") from error
    if frozen.get("stage") != name:
        raise InputError(path, "stage", f"is `{frozen.get('stage')}`, but this is the stage `{name}`")
    _refuse_other_code(path, frozen)
    _refuse_other_instructions(path, frozen["params"])
    return frozen


def _refuse_several_processes(name: str) -> None:
    """Copies of one job would do the same work side by side, and publish it over each other."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(None, "WORLD_SIZE", f"is above 1, but the stage {name} runs in one process; start it with `python -m`")


def _refuse_other_code(path: Path, frozen: dict[str, Any]) -> None:
    """Code that was edited after the pipeline was started would be recorded under the digest of the old one."""
    project = Path(__file__).parents[2]
    if (project / "segcompass" / "stages" / f"{frozen['stage']}.py").is_file():
        # Imported by name: the digest's own code is no part of what it digests.
        digest = import_module("segcompass.provenance.code_digest").stage_digest(frozen["stage"], project)
        if frozen["code"] != digest:
            raise InputError(path, "code", "is the digest of other code than lies here now; start the pipeline again")


def _refuse_other_instructions(path: Path, params: dict[str, Any]) -> None:
    """What other instructions computed would be recorded under the study's."""
    name, field = params.get("runtime", {}).get("instruction_set"), "runtime.instruction_set"
    if name is None:
        return
    if name == "avx2" and lacks_avx2():
        raise InputError(path, field, "is `avx2`, which this processor does not have; set it to `native` in the study")
    if not is_pinned(name):
        problem = f"is `{name}`, but this process was started for others; start it as `python -m segcompass.stages.<stage>`"
        raise InputError(path, field, problem)


@contextmanager
def _published(
    name: str, frozen: dict[str, Any], inputs: dict[str, Path], collections: dict[str, list[Path]], out: Path
) -> Iterator[Stage]:
    record = {key: frozen[key] for key in ("stage", "wildcards", "params", "code")}
    read = [paths for flag, paths in collections.items() if flag != FLAG]
    record["inputs"] = {str(path): input_fingerprint(path) for path in [*inputs.values(), *(path for paths in read for path in paths)]}
    record["fingerprint"] = fingerprint(record)
    gathered = collections.get(FLAG, [])
    shards = [read_run(folder) for folder in gathered]
    check_shards(gathered, shards, record)
    partial = _partial(out)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with _locked(partial.with_name(f"{out.name}.lock")):
        record["rules"] = _claim(partial, record["fingerprint"], frozen.get("rules", {}))
        stage = Stage(name, frozen["params"], frozen["wildcards"], partial, inputs, collections)
        started = time.perf_counter()
        work_ended = False
        try:
            yield stage
            work_ended = True
        finally:
            if not work_ended and not (partial / ".resume").exists():
                shutil.rmtree(partial, ignore_errors=True)
        record |= recorded_shards(shards) if shards else {}
        record |= {"seconds": round(time.perf_counter() - started, 2), "rows": stage.rows, "facts": stage.facts} | _environment()
        shutil.rmtree(partial / ".resume", ignore_errors=True)
        (partial / "claim.json").unlink()
        _refuse_unfinite(partial, out)
        (partial / "run.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        open_to_readers(partial)
        _publish(partial, out)
    if not any(partial.parent.iterdir()):
        partial.parent.rmdir()


def _refuse_unfinite(partial: Path, out: Path) -> None:
    """JSON has no numbers that are not finite; Python writes them all the same, and other readers stop at them."""

    def refused(value: str) -> None:
        raise ValueError(value)

    for path in sorted(partial.rglob("*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"), parse_constant=refused)
        except ValueError as error:
            place = out / path.relative_to(partial)
            raise InputError(place, "", f"would hold {error}; nothing of that kind is published, so look at the stage's log") from error


def _partial(out: Path) -> Path:
    return out.parent / ".partial" / out.name


def _claim(partial: Path, mark: str, rules: dict[str, str]) -> dict[str, str]:
    """Keeps a partial folder of the same job, wipes one of any other.

    Returns:
        The rules that stood when the work in the folder began.
    """
    claim = partial / "claim.json"
    before = _read_claim(claim)
    if partial.exists() and before.get("fingerprint") != mark:
        shutil.rmtree(partial)
        before = {}
    if partial.exists():
        for path in partial.iterdir():
            if path.name in {".resume", "claim.json"}:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    partial.mkdir(exist_ok=True)
    if not before:
        before = {"fingerprint": mark, "rules": rules}
        claim.write_text(json.dumps(before), encoding="utf-8")
    return dict(before["rules"])


def _read_claim(path: Path) -> dict[str, Any]:
    """What a partial folder is claimed for; nothing where that is not to be read, as when its writing was killed."""
    try:
        claim = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return claim if isinstance(claim, dict) and {"fingerprint", "rules"} <= set(claim) else {}


def _publish(partial: Path, out: Path) -> None:
    """Puts the complete folder in the place of the old one; a folder that holds other artefacts gets the files instead."""
    holds_others = out.is_dir() and any(path.is_dir() and (path / "run.json").is_file() for path in out.iterdir())
    if holds_others:
        files = sorted(partial.iterdir(), key=lambda path: path.name == "run.json")
        for path in files:
            path.replace(out / path.name)
        partial.rmdir()
        return
    if out.exists():
        old = partial.with_name(f"{out.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        out.replace(old)
        partial.replace(out)
        shutil.rmtree(old)
    else:
        partial.replace(out)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = _acquire(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.close()


def _acquire(path: Path) -> TextIO:
    while True:
        lock = path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{path}: another run of this job is under way; waiting for it.", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists() and os.fstat(lock.fileno()).st_ino == path.stat().st_ino:
            return lock
        lock.close()


def _artefact_folder(text: str) -> Path:
    path = Path(text)
    return path.parent if path.name == "run.json" else path


def input_fingerprint(path: Path) -> str:
    """Fingerprint of the artefact in folder `path`.

    Raises:
        InputError: the folder is no artefact.
    """
    return str(read_run(path).get("fingerprint"))


def _environment() -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"versions": versions, "commit": _commit(), "processor": processor()}


def _commit() -> str | None:
    def git(*words: str) -> str | None:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        head = git("rev-parse", "HEAD")
        return f"{head}+dirty" if head and git("status", "--porcelain", "--untracked-files=no") else head
    except FileNotFoundError:
        return None
