"""Artefacts that tests of joint training share."""

import json
from pathlib import Path

import pytest
import torch

from segcompass.provenance.stage import Stage
from segcompass.sae.checkpoint import save_dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.stages import cache_answers, prepare_data
from segcompass.study.jobs import Job, stage_params
from tests.tiny import micro_study
from tests.workflow.project import ROOT

WIDTH, HOOK = 128, 3
"""Of the shipped backbone."""


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of the micro study, the shipped backbone, an untrained dictionary and cached answers, as artefacts."""
    root = tmp_path_factory.mktemp("artefacts")
    for name in ("data", "backbone", "sae", "answers"):
        (root / name).mkdir()
        (root / name / "run.json").write_text(json.dumps({"fingerprint": name}))
    prepare_data.work(Stage("prepare_data", stage_params(micro_study(), Job("prepare_data")), {}, root / "data", {}, {}))
    for part in ("vlm", "sam"):
        (root / "backbone" / part).symlink_to(ROOT / "backbones" / "embedded" / part)
    torch.manual_seed(0)
    dictionary = TopKDictionary(WIDTH, 64, 4, 0.0, 1000)
    dictionary.hook_layer = HOOK
    save_dictionary(dictionary, root / "sae")
    params = stage_params(micro_study(), Job("cache_answers"))
    params["activations"]["hook_layer"] = HOOK
    inputs = {"data": root / "data", "backbone": root / "backbone"}
    cache_answers.work(Stage("cache_answers", params, {}, root / "answers", inputs, {}))
    return root
