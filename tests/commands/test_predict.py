"""`segcompass predict`: files that agree with each other and with the run's own inference; one sentence for any fault."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

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
        ([str(tmp_path), "ring", "--model", str(run)], "Is a directory"),
        ([str(image), "ring", "--model", str(tmp_path)], "run.json"),
    ):
        assert main(["predict", *words, "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1 and not out.exists()
    assert main(["predict", str(image), "ring", "--model", str(run), "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_words_that_are_not_known_are_said_and_written(run: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(image), "left <image> elephant ring", "--model", str(run), "--out", str(out)]) == 0
    assert "words that the model does not know, and read as unknown: '<image>', 'elephant'\n" in capsys.readouterr().out
    found = json.loads((out / "prediction.json").read_text())
    assert found["unknown_words"] == ["<image>", "elephant"] and found["instruction_tokens"] == 4
    assert main(["predict", str(image), "left red ring", "--model", str(run), "--out", str(tmp_path / "other")]) == 0
    assert "does not know" not in capsys.readouterr().out
    assert json.loads((tmp_path / "other" / "prediction.json").read_text())["unknown_words"] == []


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ("no " * 300, "has 300 tokens, and the model has room for"),
        ("no " * 9000, "has 27000 characters, more than 10000; shorten it"),
        ("<image> </s>", "has no word that the model knows ('<image>', '</s>'); use words that it was trained on"),
        ("xyzzy", "has no word that the model knows ('xyzzy')"),
        ("\x1b[31m", r"has no word that the model knows ('\x1b[31m')"),
        ("caf\udce9", "is not valid Unicode; write it in UTF-8"),
        ("\t\n", "is not a text"),
    ],
)
def test_instructions_that_cannot_be_read_are_refused(
    run: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], instruction: str, words: str
) -> None:
    assert main(["predict", str(image), instruction, "--model", str(run), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    error = captured.err.splitlines()[-1]
    assert error.startswith("INSTRUCTION: ") and words in error and len(error) < 400 and not captured.out
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*partial"))


def test_a_picture_on_its_side_is_answered_upright(run: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(pictures(1)[0]).save(tmp_path / "side.png", exif=exif)
    assert main(["predict", str(tmp_path / "side.png"), "ring", "--model", str(run), "--out", str(tmp_path / "out")]) == 0
    assert np.asarray(Image.open(tmp_path / "out" / "mask.png")).shape == (128, 96)
    shown = np.asarray(Image.open(tmp_path / "out" / "overlay.png"))
    assert shown.shape == (128, 96, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (3, 500)])
def test_pictures_of_a_few_rows_are_answered(run: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(tmp_path / "thin.png")
    assert main(["predict", str(tmp_path / "thin.png"), "ring", "--model", str(run), "--out", str(tmp_path / "out")]) == 0
    assert np.asarray(Image.open(tmp_path / "out" / "mask.png")).shape == size


def test_another_backbone_is_refused(run: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run.parents[2] / "backbone" / "run.json").write_text(json.dumps({"fingerprint": "other"}))
    assert main(["predict", str(image), "ring", "--model", str(run), "--out", str(tmp_path / "out")]) == 2
    assert "is not the one that" in capsys.readouterr().err
