"""The instruction set stands before torch and NumPy are imported: in tests, in stages and in commands, whatever the shell has set."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from segcompass.instruction_set import NAMES, VARIABLES, InstructionSet, asked_by, is_pinned, pin, settings
from segcompass.provenance.processor import cpu_info, lacks_avx2, processor
from segcompass.provenance.stage import read_run, run_stage
from segcompass.study.jobs import all_jobs, stage_params
from tests.instructions import instructions_under_test
from tests.tiny import micro_study
from tests.workflow.project import ROOT

needs_avx2 = pytest.mark.skipif(lacks_avx2(), reason="the processor has no AVX2")
CAPABILITY = {"avx2": "AVX2", "default": "DEFAULT"}
BYTES = """
import hashlib, numpy, scipy.linalg, torch
torch.set_num_threads(1)
random, draw = torch.Generator().manual_seed(0), numpy.random.default_rng(0)
normal = lambda *shape: torch.randn(*shape, generator=random)
functional, matrix = torch.nn.functional, draw.normal(size=(120, 120))
values = [normal(90, 257) @ normal(257, 91), functional.conv2d(normal(2, 16, 32, 32), normal(8, 16, 3, 3)), functional.gelu(normal(1000))]
values += [normal(30, 77).softmax(-1), torch.linalg.svdvals(normal(60, 50)), numpy.exp(matrix), numpy.linalg.solve(matrix, matrix[0])]
values += [scipy.linalg.svdvals(matrix), matrix.astype("float32") @ matrix.astype("float32")]
for value in values:
    print(hashlib.sha256(numpy.ascontiguousarray(value).tobytes()).hexdigest())
"""
"""Digests of what each library computes with kernels that it chooses by the processor."""
WATCH = f"""
import json, os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("numpy", "torch"):
            print(json.dumps([name, {{variable: os.environ.get(variable) for variable in {NAMES}}}]), flush=True)

sys.meta_path.insert(0, Watch())
"""
"""Prints the variables at the moment that NumPy and torch are imported."""


def python(code: str, environment: dict[str, str], *words: str) -> list[str]:
    kept = {key: value for key, value in os.environ.items() if key not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=kept | environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.splitlines()


@pytest.mark.numerical
def test_these_tests_run_under_what_they_were_started_for() -> None:
    assert is_pinned(instructions_under_test())
    if instructions_under_test() in CAPABILITY:
        assert torch.backends.cpu.get_cpu_capability() == CAPABILITY[instructions_under_test()]
    if instructions_under_test() != "native":
        features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
        assert not features["X86_V4"] and features["X86_V3"] == (instructions_under_test() == "avx2")


@needs_avx2
def test_pinned_processes_give_the_same_bytes_whatever_the_shell_had_set() -> None:
    """Only what the variables reach can be tested on one processor: other values than the pinned ones, as another processor would take."""
    pinned = "from segcompass.instruction_set import pin; pin('avx2')" + BYTES
    whole = python(pinned, {})
    assert whole == python(pinned, VARIABLES["default"])
    other = python(BYTES, VARIABLES["default"])
    assert len(whole) == len(other) == 9 and sum(one != two for one, two in zip(whole, other, strict=True)) >= 6


def test_native_takes_the_variables_of_the_shell_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "x")
    pin("native")
    assert is_pinned("native") and set(settings().values()) == {None}
    pin("default")
    assert settings() == VARIABLES["default"] and set(VARIABLES["default"]) == set(NAMES)


def test_a_command_line_is_asked_for_the_study_that_it_names(tmp_path: Path) -> None:
    for name in ("frozen.json", "run.json"):
        (tmp_path / name).write_text(json.dumps({"params": {"runtime": {"instruction_set": "native"}}}))
    (tmp_path / "study.yaml").write_text("runtime: {instruction_set: default}\n")
    assert asked_by(["--params", str(tmp_path / "frozen.json"), "--out", "x"]) == "native"
    assert asked_by(["predict", "i.png", "a ring", f"--model={tmp_path}"]) == "native"
    assert asked_by(["score-backbone", "f", "--study", str(tmp_path / "study.yaml")]) == "default"
    (tmp_path / "old.json").write_text('{"params": {}}')
    (tmp_path / "odd.json").write_text('{"params": {"runtime": {"instruction_set": "sse9"}}}')
    for name in ("old.json", "odd.json", "none.json"):
        assert asked_by(["--params", str(tmp_path / name)]) == "avx2", name
    assert asked_by(["score", "--samples"]) == asked_by([]) == asked_by(["predict", "--model"]) == "avx2"


def test_every_job_receives_the_instruction_set_of_its_study() -> None:
    study = micro_study()
    assert {stage_params(study, job)["runtime"]["instruction_set"] for job in all_jobs(study)} == {study.runtime.instruction_set}


@needs_avx2
@pytest.mark.parametrize("asked", ["avx2", "default", "native"])
@pytest.mark.parametrize("started", ["stages.score_concepts", "cli"])
def test_the_variables_stand_before_torch_is_imported(started: str, asked: InstructionSet, tmp_path: Path) -> None:
    """Stages as rules and people start them, and a command that reads a trained run; `sitecustomize` watches what they import."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    frozen = {"stage": "score_concepts", "wildcards": {}, "params": {"runtime": {"instruction_set": asked}}, "code": ""}
    (tmp_path / "run.json").write_text(json.dumps(frozen))
    if started == "cli":
        words, fault = ["predict", "none.png", "a ring", "--model", str(tmp_path)], "none.png"
    else:
        words, fault = ["--params", str(tmp_path / "run.json"), "--tokens=t", "--sae=s", "--control-sae=c"], "is the digest of other code"
    environment = os.environ | VARIABLES["default"] | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", f"segcompass.{started}", *words, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and fault in done.stderr
    seen = dict(json.loads(line) for line in done.stdout.splitlines())
    assert seen["numpy"] == seen["torch"] == {name: VARIABLES[asked].get(name) for name in NAMES}


def test_a_stage_refuses_a_process_that_was_started_for_other_instructions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = "default" if instructions_under_test() != "default" else "native"
    (tmp_path / "frozen.json").write_text(
        json.dumps({"stage": "toy", "wildcards": {}, "code": "", "params": {"runtime": {"instruction_set": other}}})
    )
    argv = ["--params", str(tmp_path / "frozen.json"), "--out", str(tmp_path / "out")]
    assert run_stage("toy", "", {}, lambda stage: None, argv) == 2
    error = capsys.readouterr().err
    assert f"runtime.instruction_set: is `{other}`, but this process was started for others" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_processor_without_avx2_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Old One\nflags\t\t: sse sse2\n\nprocessor\t: 1\nmodel name\t: Other\n")
    monkeypatch.setattr("segcompass.provenance.processor.CPU_INFO", tmp_path / "cpuinfo")
    assert lacks_avx2() and cpu_info()["model name"] == "Old One" == processor()["model"]
    frozen = {"stage": "toy", "wildcards": {}, "code": "", "params": {"runtime": {"instruction_set": "avx2"}}}
    (tmp_path / "frozen.json").write_text(json.dumps(frozen))
    assert run_stage("toy", "", {}, lambda stage: None, ["--params", str(tmp_path / "frozen.json"), "--out", str(tmp_path / "out")]) == 2
    assert "does not have; set it to `native` in the study" in capsys.readouterr().err
    monkeypatch.setattr("segcompass.provenance.processor.CPU_INFO", tmp_path / "none")
    assert cpu_info() == {} and processor()["model"]


def test_the_record_says_processor_capability_and_settings(tmp_path: Path) -> None:
    frozen = {"stage": "toy", "wildcards": {}, "code": "", "params": {"runtime": {"instruction_set": instructions_under_test()}}}
    (tmp_path / "frozen.json").write_text(json.dumps(frozen))
    assert run_stage("toy", "", {}, lambda stage: None, ["--params", str(tmp_path / "frozen.json"), "--out", str(tmp_path / "out")]) == 0
    found = read_run(tmp_path / "out")["processor"]
    assert found["model"] and found["settings"] == settings()
    assert found["capability"] == torch.backends.cpu.get_cpu_capability()
    code = "import json, sys\nfrom segcompass.provenance.processor import processor\nprint(json.dumps(processor()), 'torch' in sys.modules)"
    (line,) = python(code, {})
    assert '"capability": null' in line and line.endswith("False"), "nothing is imported to find out"
