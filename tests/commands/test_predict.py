"""`segcompass predict`: files that agree with each other and with the run's own inference; one sentence for any fault."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcompass.backbone.build import save_embedded
from segcompass.cli import main
from segcompass.datasets.masks import decode
from segcompass.joint.checkpoint import save_run
from segcompass.sae.checkpoint import save_dictionary
from tests.tiny import SLOTS, micro_study, pictures, tiny_joint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An untrained run of the micro study in the layout of `results/`."""
    model, study = tiny_joint(), micro_study()
    folders = {stage: tmp_path / "results" / stage for stage in ("backbone", "sae/topk", "joint/full/seed0")}
    for stage, folder in folders.items():
        folder.mkdir(parents=True)
        record = {"stage": "train_joint", "fingerprint": stage, "params": {}, "inputs": {"a": "backbone", "b": "sae/topk"}}
        record["params"] = {
            "joint": study.joint.model_dump(mode="json"),
            "runtime": study.runtime.model_dump(mode="json"),
            "answer": study.answer.model_dump(mode="json"),
            "confidence_threshold": 0.01,
            "threads": 1,
        }
        (folder / "run.json").write_text(json.dumps(record))
    save_embedded(folders["backbone"], model.vlm.model, model.vlm.processor, model.segmenter.model)
    save_dictionary(model.dictionary, folders["sae/topk"])
    save_run(model, study.joint.interface, folders["joint/full/seed0"])
    return folders["joint/full/seed0"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A picture of 96 x 128 pixels."""
    Image.fromarray(pictures(1)[0]).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_masks_overlay_and_answer_agree(run: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(image), "left red ring", "--model", str(run), "--out", str(out)]) == 0
    found = json.loads((out / "prediction.json").read_text())
    assert found["answer"] in capsys.readouterr().out and found["instruction"] == "left red ring"
    assert [slot["slot"] for slot in found["slots"]] == list(range(SLOTS))
    assert all(slot["confident"] == (slot["confidence"] >= 0.01) for slot in found["slots"])
    mask = np.asarray(Image.open(out / "mask.png")) > 0
    assert mask.shape == (96, 128) and np.array_equal(mask, decode(found["segmentation"]))
    named = {path.name for path in out.iterdir()} - {"mask.png", "overlay.png", "prediction.json"}
    assert named == ({f"slot{slot['slot']}.png" for slot in found["slots"] if slot["confident"]} if found["status"] == "ok" else set())
    assert np.asarray(Image.open(out / "overlay.png")).shape == (96, 128, 3)


def test_faults_are_one_sentence_and_leave_nothing(run: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for words, said in (
        ([str(tmp_path / "none.png"), "ring", "--model", str(run)], "none.png"),
        ([str(text), "ring", "--model", str(run)], "text.png"),
        ([str(image), " ", "--model", str(run)], "INSTRUCTION"),
        ([str(image), "ring", "--model", str(tmp_path)], "run.json"),
    ):
        assert main(["predict", *words, "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1 and not out.exists()
    assert main(["predict", str(image), "ring", "--model", str(run), "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_another_backbone_is_refused(run: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run.parents[2] / "backbone" / "run.json").write_text(json.dumps({"fingerprint": "other"}))
    assert main(["predict", str(image), "ring", "--model", str(run), "--out", str(tmp_path / "out")]) == 2
    assert "is not the one that" in capsys.readouterr().err
