"""A stage publishes a whole artefact or nothing, resumes its own work only, and speaks in sentences."""

import errno
import gc
import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from segcompass.errors import InputError
from segcompass.provenance.stage import Stage, read_run, run_stage


def frozen(tmp_path: Path, stage: str = "toy", params: dict | None = None) -> Path:
    path = tmp_path / f"{stage}.json"
    path.write_text(json.dumps({"stage": stage, "wildcards": {}, "params": params or {"n": 3}, "code": "c0"}))
    return path


def run(tmp_path: Path, work, *more: str, params: dict | None = None, flags: dict | None = None) -> int:
    argv = ["--params", str(frozen(tmp_path, params=params)), "--out", str(tmp_path / "out"), *more]
    return run_stage("toy", "A toy.", flags or {}, work, argv)


def write_number(stage: Stage) -> None:
    (stage.folder / "number.txt").write_text(str(stage.params["n"]))
    stage.rows["numbers"] = 1


def test_publishes_folder_with_run_record(tmp_path: Path) -> None:
    assert run(tmp_path, write_number) == 0
    record = read_run(tmp_path / "out")
    assert (tmp_path / "out" / "number.txt").read_text() == "3"
    assert record["params"] == {"n": 3} and record["rows"] == {"numbers": 1} and "seconds" in record
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "toy.json"]


def test_a_stage_collects_garbage_again_whatever_its_imports_did(tmp_path: Path) -> None:
    collects = []
    gc.disable()
    try:
        assert run(tmp_path, lambda _: collects.append(gc.isenabled())) == 0
    finally:
        gc.unfreeze()
        gc.enable()
    assert collects == [True]


def test_an_artefact_can_be_read_by_whoever_can_read_its_record(tmp_path: Path) -> None:
    def private(stage: Stage) -> None:
        save_file({"a": np.zeros(1)}, stage.folder / "a.safetensors")

    assert run(tmp_path, private) == 0
    modes = {path.name: path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert set(modes) == {"a.safetensors", "run.json"} and len(set(modes.values())) == 1


def test_a_full_disk_is_one_sentence_and_resume_points_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def full(stage: Stage) -> None:
        (stage.resume_folder() / "step").write_text("7")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert run(tmp_path, full) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said and said.count("\n") == 1 and not (tmp_path / "out").exists()
    assert (tmp_path / ".partial" / "out" / ".resume" / "step").is_file()


def test_a_failed_run_leaves_the_old_artefact_whole(tmp_path: Path) -> None:
    run(tmp_path, write_number)

    def fail(stage: Stage) -> None:
        (stage.folder / "number.txt").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        run(tmp_path, fail, params={"n": 4})
    assert (tmp_path / "out" / "number.txt").read_text() == "3"
    assert read_run(tmp_path / "out")["params"] == {"n": 3}


def test_resume_points_serve_the_same_job_only(tmp_path: Path) -> None:
    def killed(stage: Stage) -> None:
        (stage.resume_folder() / "step").write_text("7")
        raise RuntimeError("killed")

    seen = []

    def resumed(stage: Stage) -> None:
        step = stage.resume_folder() / "step"
        seen.append(step.read_text() if step.exists() else None)

    for params in ({"n": 3}, {"n": 4}):
        with pytest.raises(RuntimeError):
            run(tmp_path, killed, params={"n": 3})
        assert run(tmp_path, resumed, params=params) == 0
    assert seen == ["7", None]
    assert not (tmp_path / "out" / ".resume").exists()


def test_the_record_holds_the_rules_of_the_day_that_the_work_began(tmp_path: Path) -> None:
    """They are no part of the fingerprint; a resumed run keeps those that stood before its first result could be seen."""

    def killed(stage: Stage) -> None:
        (stage.resume_folder() / "step").write_text("7")
        raise RuntimeError("killed")

    def with_rules(rules: dict, work=write_number) -> dict:
        params = frozen(tmp_path)
        params.write_text(json.dumps(json.loads(params.read_text()) | {"rules": rules}))
        run_stage("toy", "A toy.", {}, work, ["--params", str(params), "--out", str(tmp_path / "out")])
        return read_run(tmp_path / "out")

    first = with_rules({"claim": "a"})
    assert first["rules"] == {"claim": "a"}
    with pytest.raises(RuntimeError):
        with_rules({"claim": "b"}, killed)
    resumed = with_rules({"claim": "c"})
    assert resumed["rules"] == {"claim": "b"} and resumed["fingerprint"] == first["fingerprint"]
    assert with_rules({"claim": "c"})["rules"] == {"claim": "c"}, "another run from the start"
    (tmp_path / ".partial" / "out").mkdir(parents=True)
    (tmp_path / ".partial" / "out" / "claim.json").write_text("{")  # killed while it was written
    assert with_rules({"claim": "d"})["rules"] == {"claim": "d"}


def test_input_faults_end_with_code_2_and_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(stage: Stage) -> None:
        raise InputError("scene.jpg", "width", "is 0; give an image")

    assert run(tmp_path, refuse) == 2
    assert capsys.readouterr().err == "scene.jpg: width: is 0; give an image.\n"
    assert run(tmp_path, write_number, "--data", str(tmp_path / "none"), flags={"data": "data"}) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_code_edited_since_the_start_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--params", str(frozen(tmp_path, "correlate")), "--out", str(tmp_path / "out")]
    assert run_stage("correlate", "", {}, write_number, argv) == 2
    assert "other code than lies here now" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_fingerprint_follows_the_inputs(tmp_path: Path) -> None:
    marks = []
    for n in (3, 4, 3):
        run(tmp_path, write_number, params={"n": n})
        argv = ["--params", str(frozen(tmp_path, "next")), "--data", str(tmp_path / "out" / "run.json"), "--out", str(tmp_path / "next")]
        assert run_stage("next", "", {"data": "data"}, lambda stage: None, argv) == 0
        marks.append(read_run(tmp_path / "next")["fingerprint"])
    assert marks[0] == marks[2] != marks[1]


def test_a_folder_of_artefacts_keeps_them(tmp_path: Path) -> None:
    inner = tmp_path / "out" / "tables"
    inner.mkdir(parents=True)
    (inner / "run.json").write_text("{}")
    assert run(tmp_path, write_number) == 0
    assert inner.is_dir() and (tmp_path / "out" / "number.txt").is_file()


def test_of_several_processes_the_one_of_rank_0_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    argv = ["--params", str(frozen(tmp_path)), "--out", str(tmp_path / "out")]
    assert run_stage("toy", "", {}, write_number, argv) == 2, "a stage that does not divide its work refuses"
    folders = []
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        assert run_stage("toy", "", {}, lambda stage: folders.append(stage.folder), argv, several_processes=True) == 0
        assert (tmp_path / "out" / "run.json").exists() == (rank == "0")
    assert folders[0] == folders[1], "all work on the folder that is published"
