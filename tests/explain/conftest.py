"""Results of a study of the smallest size, with the shipped backbone, whose answers keep their form, and an untrained run."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from segcompass.joint.checkpoint import build_joint, save_run
from segcompass.joint.inference import Predictor
from segcompass.joint.stored_run import StoredRun, load_predictor, stored_run
from segcompass.sae.checkpoint import save_dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.stages import prepare_data
from segcompass.study.backbone import AnswerSettings
from segcompass.study.jobs import Job
from tests.joint.conftest import HOOK, WIDTH, run_job
from tests.tiny import micro_study
from tests.workflow.project import ROOT

FEATURES, ACTIVE = 64, 4


def concept_tables(folder: Path) -> None:
    """Tables of `score_concepts`: concept 3 tells red well, 5 is the word red, 7 is poor at ring."""
    folder.mkdir(parents=True)
    concepts = pd.DataFrame({"concept": [3, 5, 7, 3], "dictionary": ["trained", "trained", "trained", "random"]})
    concepts["attribute"], concepts["value"] = ["colour", None, "shape", "size"], ["red", None, "ring", "small"]
    concepts["auroc"] = [0.97, None, 0.55, 0.5]
    concepts.to_csv(folder / "concepts.csv", index=False)
    words = pd.DataFrame({"concept": [5, 5, 7], "rank": [1, 0, 0], "word": ["blue", "red", "ring"], "activation": [1.0, 2.0, 1.0]})
    words.to_csv(folder / "top_words.csv", index=False)
    rows = [("colour", "red", "auroc", 3), ("colour", "red", "f1", 3), ("shape", "ring", "auroc", 7), ("shape", "(mean)", "auroc", -1)]
    pd.DataFrame(rows, columns=["attribute", "value", "metric", "concept"]).to_csv(folder / "purity.csv", index=False)
    (folder / "run.json").write_text("{}")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder, in its study's results."""
    results = tmp_path_factory.mktemp("explained") / "results" / "micro"
    results.mkdir(parents=True)
    run_job(prepare_data.work, Job("prepare_data"), results / "data", {})
    folder, backbone, sae = results / "joint" / "full" / "seed0", results / "backbone", results / "sae" / "topk"
    for made in (folder, backbone, sae):
        made.mkdir(parents=True)
    for part in ("vlm", "sam"):
        (backbone / part).symlink_to(ROOT / "backbones" / "embedded" / part)
    torch.manual_seed(0)
    dictionary = TopKDictionary(WIDTH, FEATURES, ACTIVE, 0.0, 1000)
    dictionary.hook_layer = HOOK
    save_dictionary(dictionary, sae)
    study = micro_study()
    model = build_joint(backbone, sae, study.interface.model, study.runtime, AnswerSettings(slots=4, max_thought_tokens=48))
    save_run(model, folder)
    for made, stage in ((backbone, "train_backbone"), (sae, "train_sae")):
        (made / "run.json").write_text(json.dumps({"stage": stage, "fingerprint": stage, "commit": "c0ffee"}))
    params = {"runtime": study.runtime.model_dump(mode="json"), "confidence_threshold": 0.5, "threads": 1, "seed": 0}
    record = {"stage": "train_joint", "fingerprint": "ab12", "params": params, "inputs": {"a": "train_backbone", "b": "train_sae"}}
    record |= {"wildcards": {"variant": "full", "seed": "0"}, "commit": "c0ffee", "code": "d1ce", "seconds": 1.0, "versions": {}}
    (folder / "run.json").write_text(json.dumps(record))
    concept_tables(results / "concepts" / "topk")
    return folder


@pytest.fixture(scope="session")
def stored(run: Path) -> StoredRun:
    return stored_run(run)


@pytest.fixture(scope="session")
def predictor(stored: StoredRun) -> Predictor:
    return load_predictor(stored, None)


@pytest.fixture(scope="session")
def asked(stored: StoredRun) -> tuple[Path, str]:
    """A picture of val and what is asked of it; the next one's instruction is another."""
    assert stored.study
    row = json.loads((stored.study / "data" / "manifests" / "refcoco" / "val.jsonl").read_text().splitlines()[0])
    return stored.study / "data" / "root" / row["image"], row["text"]
