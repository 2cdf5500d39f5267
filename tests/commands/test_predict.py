"""`segcompass predict`: files that agree with each other and with the run's own inference; one sentence for any fault."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from safetensors.torch import load_file, save_file

from segcompass.backbone.build import save_embedded
from segcompass.cli import main
from segcompass.datasets.masks import decode
from segcompass.errors import InputError
from segcompass.joint.checkpoint import save_run
from segcompass.joint.stored_run import load_predictor, on_device, stored_run
from segcompass.sae.checkpoint import save_dictionary
from segcompass.study.backbone import RuntimeSettings
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
            "runtime": study.runtime.model_dump(mode="json"),
            "confidence_threshold": 0.01,
            "threads": 1,
        }
        (folder / "run.json").write_text(json.dumps(record))
    save_embedded(folders["backbone"], model.vlm.model, model.vlm.processor, model.segmenter.model)
    save_dictionary(model.dictionary, folders["sae/topk"])
    save_run(model, folders["joint/full/seed0"])
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


def test_a_run_behind_a_warm_start_has_the_policy_that_came_out_of_it(run: Path) -> None:
    """The raw backbone lies beside it, and a run that was made from that one keeps it."""
    study, record = run.parents[2], json.loads((run / "run.json").read_text())
    (study / "warm_start").mkdir()
    (study / "warm_start" / "run.json").write_text(json.dumps({"fingerprint": "warm"}))
    assert stored_run(run).backbone == study / "backbone"
    inputs = {"results/study/warm_start": "warm", "results/study/sae/topk": "sae/topk"}
    (run / "run.json").write_text(json.dumps(record | {"inputs": inputs}))
    assert stored_run(run).backbone == study / "warm_start"
    (study / "warm_start" / "run.json").write_text(json.dumps({"fingerprint": "another"}))
    with pytest.raises(InputError, match=r"warm_start/run\.json: fingerprint: is not the one that"):
        stored_run(run)


def predict(run: Path, image: Path, out: Path, *words: str) -> int:
    return main(["predict", str(image), "left red ring", "--model", str(run), "--out", str(out), *words])


def test_a_run_of_another_device_is_read_on_this_one(run: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(run, image, tmp_path / "here") == 0
    record = json.loads((run / "run.json").read_text())
    record["params"]["runtime"] |= {"device": "cuda", "attention": "flash_attention_2"}
    (run / "run.json").write_text(json.dumps(record))
    assert predict(run, image, tmp_path / "there", "--device", "cpu") == 0
    assert capsys.readouterr().err == "", "no bars where output is redirected"
    one, other = (json.loads((tmp_path / name / "prediction.json").read_text()) for name in ("here", "there"))
    assert one["answer"] == other["answer"] and one["segmentation"] == other["segmentation"]
    settings = RuntimeSettings.model_validate(record["params"]["runtime"])
    if torch.cuda.is_available():
        assert on_device(settings, None) == settings
    else:
        assert (on_device(settings, None).device, on_device(settings, None).attention) == ("cpu", "sdpa")
        assert predict(run, image, tmp_path / "out", "--device", "cuda") == 2
        assert "torch finds no such device here" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_lies_beside_a_run_is_looked_for_by_the_given_path_first(run: Path, image: Path, tmp_path: Path) -> None:
    """A part of the results may be moved to another disk and linked, and so may a run be from anywhere else."""
    results = run.parents[2]
    (tmp_path / "disk").mkdir()
    (results / "joint").rename(tmp_path / "disk" / "joint")
    (results / "joint").symlink_to(tmp_path / "disk" / "joint")
    assert predict(run, image, tmp_path / "moved") == 0
    (results / "joint").unlink()
    (tmp_path / "disk" / "joint").rename(results / "joint")
    (tmp_path / "short").symlink_to(run)
    assert predict(tmp_path / "short", image, tmp_path / "linked") == 0
    (results / "backbone").rename(tmp_path / "gone")
    assert predict(run, image, tmp_path / "none") == 2


def test_a_place_that_cannot_be_written_is_found_out_before_the_model_is_loaded(
    run: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def loaded(*_: object) -> None:
        raise AssertionError("the model was loaded")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("segcompass.commands.predict.load_predictor", loaded)
    before = sorted(tmp_path.rglob("*"))
    assert predict(run, image, image / "below_a_file") == 2
    assert predict(run, image, tmp_path / ("n" * 300)) == 2
    monkeypatch.setattr("os.posix_fallocate", full)
    assert predict(run, image, tmp_path / "new" / "out") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all("--out: cannot be written" in line for line in said) and "No space left on device" in said[2]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_of_the_interface_experiment_thinks_with_the_backbones_own_policy(run: Path, image: Path, tmp_path: Path) -> None:
    """It holds no policy and no threshold of its own: the backbone's and one half stand in, and `--threshold` names another."""
    assert predict(run, image, tmp_path / "joint") == 0
    place = run.parents[2] / "interface" / "reference" / "seed0"
    place.mkdir(parents=True)
    for name in ("model.safetensors", "interface.json"):
        (place / name).write_bytes((run / name).read_bytes())
    tensors = load_file(place / "model.safetensors")
    policy = [name for name in tensors if name.startswith("vlm.")]
    assert policy, "a run of joint training holds its policy"
    save_file({name: value for name, value in tensors.items() if name not in policy}, place / "model.safetensors")
    record = json.loads((run / "run.json").read_text()) | {"stage": "train_interface"}
    del record["params"]["confidence_threshold"]
    (place / "run.json").write_text(json.dumps(record))
    assert (
        load_predictor(stored_run(place), None).confidence_threshold == 0.5
        and load_predictor(stored_run(run), None).confidence_threshold == 0.01
    )
    assert load_predictor(stored_run(place), 0.3).confidence_threshold == load_predictor(stored_run(run), 0.3).confidence_threshold == 0.3
    assert predict(place, image, tmp_path / "interface", "--threshold", "0.01") == 0
    one, other = (json.loads((tmp_path / name / "prediction.json").read_text()) for name in ("joint", "interface"))
    assert one == other, "the run's policy is that of the backbone here, and so are its masks"


def test_a_folder_of_another_stage_is_refused(run: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((run / "run.json").read_text()) | {"stage": "evaluate_joint"}
    (run / "run.json").write_text(json.dumps(record))
    assert predict(run, image, tmp_path / "out") == 2
    assert "stage: is `evaluate_joint`; name a folder of train_joint or train_interface" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "{}", '{"model": {}, "policy": {"vocabulary": 1, "slots": 1, "longest": 1}}'])
def test_a_damaged_description_is_one_sentence(
    run: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (run / "interface.json").write_text(content)
    assert predict(run, image, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "interface.json: describes no run" in error and error.count("\n") == 1 and len(error) < 500 and not (tmp_path / "out").exists()
