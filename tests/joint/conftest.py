"""Artefacts that tests of the interface and of joint training share."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from segcompass.provenance.stage import Stage
from segcompass.sae.checkpoint import save_dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.stages import cache_answers, embed_images, prepare_data, train_interface
from segcompass.study.jobs import Job, answer_parts, stage_params
from tests.tiny import micro_study
from tests.workflow.project import ROOT

WIDTH, HOOK = 128, 3
"""Of the shipped backbone."""
LAYERS = [2, HOOK]
"""Whose states answers are cached at."""


def run_job(work: Any, job: Job, folder: Path, inputs: dict[str, Path], **changes: object) -> Stage:
    """A stage's work on the micro study, some of whose keys are changed; what a folder's `run.json` says is its path."""
    folder.mkdir(parents=True)
    params = stage_params(micro_study(), job) | changes
    stage = Stage(job.stage, params, dict(job.wildcards), folder, inputs, {})
    work(stage)
    (folder / "run.json").write_text(json.dumps({"fingerprint": str(folder), "params": params}))
    return stage


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of the micro study, the shipped backbone, an untrained dictionary, the study's caches and its reference interface.

    `answers/<part>`, `images/<part>` and `interface` are made by the stages themselves.
    """
    root = tmp_path_factory.mktemp("artefacts")
    run_job(prepare_data.work, Job("prepare_data"), root / "data", {})
    for name in ("backbone", "sae"):
        (root / name).mkdir()
        (root / name / "run.json").write_text(json.dumps({"fingerprint": name}))
    for part in ("vlm", "sam"):
        (root / "backbone" / part).symlink_to(ROOT / "backbones" / "embedded" / part)
    torch.manual_seed(0)
    dictionary = TopKDictionary(WIDTH, 64, 4, 0.0, 1000)
    dictionary.hook_layer = HOOK
    save_dictionary(dictionary, root / "sae")
    given = {"data": root / "data", "backbone": root / "backbone"}
    for part in answer_parts(micro_study()):
        run_job(cache_answers.work, Job("cache_answers", (("part", part),)), root / "answers" / part, given, layers=LAYERS)
    for part in ("training", "evaluation", "pairs"):
        job = Job("embed_images", (("segmenter", "sam"), ("part", part)))
        run_job(embed_images.work, job, root / "images" / part, given)
    inputs = {"backbone": root / "backbone", "sae": root / "sae"}
    inputs |= {"answers": root / "answers" / "training", "images": root / "images" / "training"}
    run_job(train_interface.work, Job("train_interface", (("variant", "reference"), ("seed", "0"))), root / "interface", inputs)
    return root


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything that a test computes, and its forked processes compute, is float64, also where the code asks for at least float32.

    Steps amplify a rounding, by no bound that can be named; float64 leaves room for that between rounding and fault.
    """
    before = torch.get_default_dtype()
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(torch.nn.Module, "float", torch.nn.Module.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
