"""`segcompass samples` and `score` from the outside: right numbers for anybody's file, one sentence for any fault."""

import argparse
import io
import json
import os
import threading
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from segcompass.cli import COMMANDS, main
from segcompass.datasets.masks import checked_rle, decode, encode
from tests.datasets.test_loaders import refer_root


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sample(name: str, target: np.ndarray, no_target: bool = False, ignore: np.ndarray | None = None, image: str = "i.jpg") -> dict:
    height, width = target.shape
    row = {"sample_id": name, "image": image, "height": height, "width": width, "text": "x", "no_target": no_target}
    return row | {"target": encode(target), "ignore": None if ignore is None else encode(ignore)}


def prediction(name: str, mask: np.ndarray | None, no_target: bool = False) -> dict:
    return {"sample_id": name, "segmentation": None if mask is None else encode(mask), "no_target": no_target}


LEFT = np.repeat([[True, True, False, False]], 2, 0)
MIDDLE = np.repeat([[False, True, True, False]], 2, 0)
NONE = np.zeros((2, 4), bool)


def score(tmp_path: Path, samples: list[dict], predictions: list[dict], *words: str, protocol: str = "gres") -> int:
    paths = ["--samples", str(write(tmp_path / "s.jsonl", samples)), "--predictions", str(write(tmp_path / "p.jsonl", predictions))]
    return main(["score", *paths, "--protocol", protocol, "--bootstrap", "100", *words])


def test_numbers_by_hand_in_any_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = [sample("a", LEFT), sample("b", NONE, no_target=True), sample("c", LEFT, image="j.jpg")]
    predictions = [prediction("c", None, no_target=True), prediction("a", MIDDLE), prediction("b", None, no_target=True)]
    assert score(tmp_path, samples, predictions, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    values = {name: numbers["value"] for name, numbers in found["metrics"].items()}
    # a: 2 of 6 pixels; b: rejected rightly, 1; c: rejected wrongly, 0 of 4 pixels.
    assert found["n"] == 3 and values["gIoU"] == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert values["cIoU"] == pytest.approx(2 / 10) and values["N-acc"] == 1.0 and values["T-acc"] == 0.5 and values["Pr@0.5"] == 0.0
    assert score(tmp_path, samples, predictions) == 0
    text = capsys.readouterr().out
    assert "gIoU     44.44" in text and "cIoU     20.00" in text and "n = 3" in text


def test_missing_predictions_are_refused_or_counted_as_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = [sample("a", LEFT), sample("b", LEFT)]
    assert score(tmp_path, samples, [prediction("a", LEFT)]) == 2
    assert "p.jsonl: sample_id: has no prediction for `b`" in capsys.readouterr().err
    assert score(tmp_path, samples, [prediction("a", LEFT)], "--missing", "empty", "--json") == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    assert found["gIoU"]["value"] == 0.5 and found["T-acc"]["value"] == 1.0, "an absent prediction decides nothing"


GOOD = encode(LEFT)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"sample_id": "b", "segmentation": None, "no_target": False}, "p.jsonl: line 2: sample_id: `b` is not in the samples file"),
        ({"sample_id": "a", "segmentation": None, "no_target": False}, "line 2: sample_id: `a` has a prediction on line 1 already"),
        ({"sample_id": 7}, "line 2: sample_id: is not a text"),
        ([], "line 2: is not a JSON object"),
    ],
)
def test_faulty_ids_name_line_and_field(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: dict, words: str) -> None:
    assert score(tmp_path, [sample("a", LEFT)], [prediction("a", LEFT), line]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"no_target": 1}, "line 1: no_target: is not true or false"),
        ({"no_target": None}, "line 1: no_target: is not true or false"),
        ({"segmentation": {"size": [4, 2], "counts": GOOD["counts"]}}, "line 1: segmentation: is no RLE of this image: size is not [2, 4]"),
        ({"segmentation": {"size": [2, 4], "counts": [3, 4]}}, "counts sum to 7, the image has 8 pixels"),
        ({"segmentation": {"size": [2, 4], "counts": [9, -1]}}, "run lengths within the image"),
        ({"segmentation": {"size": [2, 4], "counts": "\u0000"}}, "a character that compressed RLE does not have"),
        ({"segmentation": {"size": [2, 4], "counts": "é"}}, "a character that compressed RLE does not have"),
        ({"segmentation": {"size": [2, 4], "counts": "P"}}, "in the middle of a number"),
        ({"segmentation": {"size": [2, 4], "counts": "o" * 50 + "0"}}, "a number that no image needs"),
        ({"segmentation": {"size": [2, 4], "counts": "N:"}}, "hold a negative run"),
        ({"segmentation": {"size": [2, 4], "counts": ""}}, "counts sum to 0"),
        ({"segmentation": {"size": [2.0, 4], "counts": None}}, "counts are neither"),
        ({"segmentation": "x"}, "size is not [2, 4]"),
    ],
)
def test_faulty_masks_name_line_and_field(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict, words: str) -> None:
    assert score(tmp_path, [sample("a", LEFT)], [prediction("a", LEFT) | change]) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"height": 0}, "s.jsonl: line 1: height, width: are not sides"),
        ({"height": 10**9, "width": 10**9}, "are not sides of an image of at most"),
        ({"height": 2.0}, "line 1: height: is not a whole number"),
        ({"target": None}, "line 1: target: is no RLE"),
        ({"image": None}, "line 1: image: is not a text"),
    ],
)
def test_faulty_samples_name_line_and_field(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict, words: str) -> None:
    assert score(tmp_path, [sample("a", LEFT) | change], [prediction("a", LEFT)]) == 2
    assert words in capsys.readouterr().err


def test_doubled_samples_broken_lines_and_missing_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(tmp_path, [sample("a", LEFT)] * 2, [prediction("a", LEFT)]) == 2
    assert "s.jsonl: line 2: sample_id: `a` stands on line 1 already" in capsys.readouterr().err
    assert score(tmp_path, [], []) == 2
    assert "holds no sample" in capsys.readouterr().err
    (tmp_path / "p.jsonl").write_text("[" * 100_000)
    words = ["score", "--samples", str(tmp_path / "s.jsonl"), "--predictions", str(tmp_path / "p.jsonl"), "--protocol", "gres"]
    assert main(words) == 2
    assert "line 1: is not JSON" in capsys.readouterr().err
    (tmp_path / "p.jsonl").write_bytes(b"\xff\xfe\x00")
    assert main(words) == 2
    assert main([*words[:4], str(tmp_path / "none"), *words[5:]]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_standard_input_and_pipes_are_files_of_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = write(tmp_path / "s.jsonl", [sample("a", LEFT), sample("b", LEFT)])
    predictions = write(tmp_path / "p.jsonl", [prediction("b", MIDDLE), prediction("a", LEFT)])
    words = ["--protocol", "gres", "--json", "--bootstrap", "1"]

    def scored(first: object, second: object, given: bytes = b"") -> str:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert main(["score", "--samples", str(first), "--predictions", str(second), *words]) == 0
        return capsys.readouterr().out

    expected = scored(samples, predictions)
    assert json.loads(expected)["metrics"]["gIoU"]["value"] == pytest.approx((1 + 1 / 3) / 2)
    assert scored("-", predictions, samples.read_bytes()) == expected == scored(samples, "-", predictions.read_bytes())
    assert scored(samples, "-", b"\xef\xbb\xbf" + predictions.read_bytes()) == expected, "a byte order mark is no fault"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(predictions.read_bytes(),))
    writer.start()
    assert scored(samples, pipe) == expected
    writer.join()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"[]")))
    assert main(["score", "--samples", str(samples), "--predictions", "-", *words]) == 2
    assert capsys.readouterr().err == "standard input: line 1: is not a JSON object; write one object a line.\n"
    assert main(["score", "--samples", "-", "--predictions", "-", *words]) == 2
    assert "only one of them can be standard input" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--bootstrap", "--seed"])
@pytest.mark.parametrize("value", ["-1", "1.5", "x", "", "1e3", "٣", "9" * 5000, "99999999999"])
def test_numeric_flags_state_and_check_their_range(tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str) -> None:
    with pytest.raises(SystemExit) as stop:
        score(tmp_path, [sample("a", LEFT)], [prediction("a", LEFT)], f"{flag}={value}")
    error = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and f"argument {flag}: " in error and "is no whole number from" in error and len(error) < 200


def test_no_draws_make_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        score(tmp_path, [sample("a", LEFT)], [prediction("a", LEFT)], "--bootstrap", "0")
    assert "`0` is no whole number from 1 to 1000000" in capsys.readouterr().err
    assert score(tmp_path, [sample("a", LEFT)], [prediction("a", LEFT)], "--bootstrap", "1") == 0


def test_every_numeric_flag_of_every_command_has_a_range() -> None:
    """A flag that argparse turns into a number by itself takes any number."""
    for name in COMMANDS:
        parser = argparse.ArgumentParser()
        import_module(f"segcompass.commands.{name.replace('-', '_')}").add_arguments(parser)
        for action in parser._actions:
            assert action.type not in (int, float) or (name, action.dest) == ("convert-sae", "hook_layer"), (name, action.dest)


DAMAGED_VALUES: list[object] = [None, True, -1, 2.5, 10**30, 1e308, "x", "\0", "é", [], [[]], {}, {"size": [2, 4]}, [1] * 9, "9" * 9]


def test_damaged_lines_are_scored_or_refused_by_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A value exchanged anywhere, or bytes overwritten, cut out or cut off, in either file."""
    generator = np.random.default_rng(11)
    whole = {"s": [sample("a", LEFT, ignore=MIDDLE), sample("b", NONE, True)], "p": [prediction("a", MIDDLE), prediction("b", None, True)]}
    codes = []
    for _ in range(200):
        rows = json.loads(json.dumps(whole))
        name = "sp"[int(generator.integers(2))]
        row = rows[name][int(generator.integers(2))]
        if inner := [row[key] for key in ("target", "ignore", "segmentation") if isinstance(row.get(key), dict)]:
            row = [row, *inner][int(generator.integers(1 + len(inner)))]
        row[list(row)[int(generator.integers(len(row)))]] = DAMAGED_VALUES[int(generator.integers(len(DAMAGED_VALUES)))]
        paths = {key: write(tmp_path / f"{key}.jsonl", value) for key, value in rows.items()}
        data = paths[name].read_bytes()
        first, second = sorted(int(place) for place in generator.integers(0, len(data), 2))
        noise = generator.integers(0, 256, 3, dtype=np.uint8).tobytes()
        changed = [data, data, data[:first] + noise + data[first + 3 :], data[:first] + data[second:], data[:second]]
        paths[name].write_bytes(changed[int(generator.integers(len(changed)))])
        protocol = ("gres", "reasonseg_lisa", "reasonseg_seg_zero")[int(generator.integers(3))]
        words = ["--samples", str(paths["s"]), "--predictions", str(paths["p"]), "--protocol", protocol, "--bootstrap", "2"]
        codes.append(main(["score", *words]))
        error = capsys.readouterr().err
        assert len(error.splitlines()) == (codes[-1] == 2) and len(error) < 600
    assert set(codes) == {0, 2} and codes.count(2) > 100


def test_samples_prints_the_documented_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = refer_root(tmp_path)
    assert main(["samples", str(root), "--benchmark", "refcoco", "--split", "val", "--split-by", "unc"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert set(rows[0]) == {"sample_id", "image", "height", "width", "text", "no_target", "target", "ignore"}
    assert len(rows) == 2 and rows[0]["ignore"] is None and isinstance(rows[0]["target"]["counts"], str)
    assert main(["samples", str(root), "--benchmark", "refcoco", "--split", "val", "--per-ref"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["samples", str(root), "--benchmark", "refcoco", "--split", "nowhere"]) == 2
    assert main(["samples", str(root), "--benchmark", "grefcoco", "--split", "val"]) == 2


def test_check_finds_missing_images_and_needs_a_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path)]) == 1
    root = refer_root(tmp_path)
    assert main(["check", str(root)]) == 1
    out = capsys.readouterr().out
    assert "refcoco" in out and "| no" in out and "refcoco/instances.json" in out
    assert "target without a pixel" not in out


def test_check_says_what_score_would_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentences = [{"sent_id": 4, "sent": "left box"}, {"sent_id": 4, "sent": "the box"}]
    root = refer_root(tmp_path, sentences=sentences)
    assert main(["check", str(root)]) == 1
    assert "makes the sample id `refcoco_unc_val_s4`, which ref 0 has already" in capsys.readouterr().out


def test_absent_splits_are_absent_and_a_split_without_annotations_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        folder = tmp_path / "ReasonSeg" / split
        folder.mkdir(parents=True)
        Image.new("RGB", (20, 16)).save(folder / "a.jpg")
        (folder / "a.json").write_text(json.dumps({"text": ["what?"], "is_sentence": True, "shapes": []}))
    assert main(["check", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "train" in table and "val" in table and "| test" not in table
    assert main(["samples", str(tmp_path), "--benchmark", "reasonseg", "--split", "test"]) == 2
    assert "ReasonSeg/test: split: is not there" in capsys.readouterr().err
    (tmp_path / "ReasonSeg" / "test").mkdir()
    assert main(["check", str(tmp_path)]) == 0
    Image.new("RGB", (20, 16)).save(tmp_path / "ReasonSeg" / "test" / "a.jpg")
    capsys.readouterr()
    assert main(["check", str(tmp_path)]) == 1
    assert "ReasonSeg/test: holds no annotation" in capsys.readouterr().out


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_checked_codes_are_those_of_pycocotools(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, width = (int(side) for side in generator.integers(1, 70, 2))
    mask = generator.random((height, width)) < generator.choice([0.0, 0.02, 0.5, 0.98, 1.0])
    rle = encode(mask)
    assert (decode(checked_rle(rle, height, width)) == mask).all()
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat]).astype(int)) != 0)
    runs = np.diff(np.concatenate([[0], edges, [len(flat)]])).tolist()
    assert coco.area(checked_rle({"size": [height, width], "counts": runs}, height, width)) == mask.sum()
