"""What is gathered from shards has the bytes of what one job makes, however many they are and wherever one or the gathering is killed."""

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch

from segcompass.backbone.build import save_embedded
from segcompass.joint.checkpoint import save_run
from segcompass.provenance.code_digest import stage_digest
from segcompass.provenance.stage import read_run
from segcompass.sae.checkpoint import save_dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.study.jobs import Job, stage_params
from segcompass.study.shard_jobs import ShardJob, shards_of
from segcompass.study.shards import SHARDED
from tests.tiny import micro_study, tiny_joint
from tests.workflow.project import ROOT

JOBS = {
    "cache_activations": Job("cache_activations", (("layer", "2"),)),
    "cache_answers": Job("cache_answers", (("part", "training"),)),
    "evaluate_interface": Job("evaluate_interface", (("variant", "reference"), ("seed", "0"))),
    "evaluate_joint": Job("evaluate_joint", (("variant", "full"), ("seed", "0"))),
}
RUN = ("sae", "control-sae", "run")
READ = {"cache_activations": (), "cache_answers": (), "evaluate_interface": (*RUN, "answers", "gold", "images"), "evaluate_joint": RUN}
"""Stage -> its inputs beside data and backbone."""
BATCH = {"cache_activations": 4, "cache_answers": 2, "evaluate_interface": 4, "evaluate_joint": 4}
"""Stage -> samples of a forward pass."""


def params(job: Job) -> dict:
    """The micro study's keys, with batches so small that a job has several."""
    keys = stage_params(micro_study(), job)
    if job.stage == "cache_activations":
        keys["activations"] |= {"scenes": 1, "batch": BATCH[job.stage], "shard_tokens": 150}
    for section in ("answers", "evaluation"):
        if section in keys and job.stage in BATCH:
            keys[section] |= {"batch": BATCH[job.stage]}
    return keys


def made(root: Path, job: Job, out: Path, shards: tuple[Path, ...] = ()) -> int:
    """Runs a job's stage by its command line; the artefacts in `root` are its inputs."""
    frozen = root / "frozen.json"
    content = {"stage": job.stage, "wildcards": dict(job.wildcards), "params": params(job), "code": stage_digest(job.stage, ROOT)}
    frozen.write_text(json.dumps(content | {"rules": {"claim": "0"}}))
    words = ["--params", str(frozen), "--out", str(out)]
    for flag in ("data", "backbone", *READ.get(job.stage, ())):
        words += [f"--{flag}", str(root / flag)]
    if shards:
        words += ["--shards", *map(str, shards)]
    return int(import_module(f"segcompass.stages.{job.stage}").main(words))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of an artefact but the run record."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "run.json"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of the micro study, its models untrained, and what evaluations of their runs read."""
    root = tmp_path_factory.mktemp("artefacts")
    model = tiny_joint()
    save_embedded(root / "backbone", model.vlm.model, model.vlm.processor, model.segmenter.model)
    control = TopKDictionary(model.vlm.hidden_width, 64, 4, 0.0, 1000)
    control.hook_layer = model.dictionary.hook_layer
    for name in RUN:
        (root / name).mkdir()
    save_dictionary(model.dictionary, root / "sae")
    save_dictionary(control, root / "control-sae")
    save_run(model, root / "run")
    for name in ("backbone", *RUN):
        (root / name / "run.json").write_text(json.dumps({"fingerprint": name}))
    frozen = root / "prepare.json"
    job = Job("prepare_data")
    keys = stage_params(micro_study(), job)
    frozen.write_text(json.dumps({"stage": job.stage, "wildcards": {}, "params": keys, "code": stage_digest(job.stage, ROOT)}))
    assert import_module("segcompass.stages.prepare_data").main(["--params", str(frozen), "--out", str(root / "data")]) == 0
    for flag, part in (("answers", "evaluation"), ("gold", "gold")):
        assert made(root, Job("cache_answers", (("part", part),)), root / flag) == 0
    assert made(root, Job("embed_images", (("segmenter", "sam"), ("part", "evaluation"))), root / "images") == 0
    return root


@pytest.fixture(scope="module")
def alone(root: Path) -> Callable[[str], Path]:
    """Stage -> the artefact of a job that does its work alone."""

    def artefact(stage: str) -> Path:
        out = root / "alone" / stage
        assert out.is_dir() or made(root, JOBS[stage], out) == 0
        return out

    return artefact


def all_shards(root: Path, stage: str, number: int) -> tuple[Path, ...]:
    """The shards of a stage's job, of which those that lie there already are not made again."""
    paths = []
    for shard in shards_of(JOBS[stage], number):
        out = root / "shards" / stage / dict(shard.wildcards)["shard"]
        assert out.is_dir() or made(root, shard, out) == 0
        paths.append(out)
    return tuple(paths)


def batches(stage: str, rows: dict[str, int]) -> int:
    """Forward passes of a job, by the row counts of its record: of expressions, of answers, of the samples of each split."""
    counted = {"cache_activations": [rows.get("expressions", 0)], "cache_answers": [rows.get("answers", 0)]}
    return sum(-(-count // BATCH[stage]) for count in counted.get(stage, list(rows.values())))


@pytest.mark.parametrize("number", [2, 3, "one more than batches"])
@pytest.mark.parametrize("stage", SHARDED)
def test_what_is_gathered_from_shards_has_the_bytes_of_one_job(
    root: Path, alone: Callable[[str], Path], tmp_path: Path, stage: str, number: int | str
) -> None:
    whole, out = alone(stage), tmp_path / "out"
    one = read_run(whole)
    passes = batches(stage, one["rows"])
    count = number if isinstance(number, int) else passes + 1
    assert made(root, JOBS[stage], out, all_shards(root, stage, count)) == 0
    expected, found = contents(whole), contents(out)
    assert sorted(found) == sorted(expected) and [name for name in expected if found[name] != expected[name]] == []
    gathered = read_run(out)
    for key in ("stage", "wildcards", "params", "code", "inputs", "fingerprint", "rows", "rules"):
        assert gathered[key] == one[key], key
    assert "shards" not in one and len(gathered["shards"]) == count
    assert passes > 2 and sum(not any(shard["rows"].values()) for shard in gathered["shards"]) == max(0, count - passes)


def killed(work: Callable[[], int], place: int) -> tuple[bool, int]:
    """Runs some work in a process of its own, which kills itself as it opens, moves or deletes a file for the `place`-th time.

    Returns:
        Whether it was killed, and how often it did so if not.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        count = 0

        def seen(event: str, arguments: tuple) -> None:
            nonlocal count
            if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"):
                count += 1
                if count == place:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(seen)
        code = work()
        os.write(writing, str(count).encode())
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as said:
        count = said.read()
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status), int(count or 0)


@pytest.mark.parametrize("stage", SHARDED)
def test_a_shard_and_a_gathering_killed_anywhere_end_with_the_same_bytes(
    root: Path, alone: Callable[[str], Path], tmp_path: Path, stage: str
) -> None:
    torch.set_num_threads(1)
    draws = random.Random(SHARDED.index(stage))
    first, second = shards_of(JOBS[stage], 2)
    done = all_shards(root, stage, 2)
    stamps = {path: path.stat().st_mtime_ns for path in sorted(done[0].rglob("*"))}
    steps: dict[str, tuple[Job, Path, tuple[Path, ...]]] = {
        "shard": (second, tmp_path / "2_of_2", ()),
        "gathering": (JOBS[stage], tmp_path / "out", (done[0], tmp_path / "2_of_2")),
    }
    assert isinstance(first, ShardJob)
    for job, out, given in steps.values():
        _, opened = killed(lambda: made(root, job, tmp_path / "measured" / out.name, given), 0)  # noqa: B023 - called here and now
        assert opened > 10
        for place in sorted(draws.sample(range(1, opened + 1), 3)):
            died, _ = killed(lambda: made(root, job, out, given), place)  # noqa: B023
            assert died and (not out.exists() or (out / "run.json").is_file()), "an artefact lies there whole or not at all"
        assert made(root, job, out, given) == 0
    assert contents(tmp_path / "2_of_2") == contents(done[1])
    assert contents(tmp_path / "out") == contents(alone(stage))
    assert stamps == {path: path.stat().st_mtime_ns for path in sorted(done[0].rglob("*"))}, "a finished shard is left alone"


def test_shards_of_other_work_are_refused_in_one_sentence(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = all_shards(root, "cache_answers", 2)
    third = all_shards(root, "cache_answers", 3)[2]
    job = JOBS["cache_answers"]
    for given, said in {
        (second, first): "wildcards: is not that of shard 1 of 2 of this job",
        (first,): "wildcards: is not that of shard 1 of 1 of this job",
        (first, second, third): "wildcards: is not that of shard 1 of 3 of this job",
    }.items():
        assert made(root, job, tmp_path / "out", given) == 2
        err = capsys.readouterr().err
        assert said in err and "delete it and start the pipeline again" in err and err.strip().count("\n") == 0
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "run.json").write_text(json.dumps(read_run(first) | {"code": "other"}))
    assert made(root, job, tmp_path / "out", (changed, second)) == 2
    assert "code: is not that of shard 1 of 2" in capsys.readouterr().err and not (tmp_path / "out").exists()
