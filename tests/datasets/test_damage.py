"""Damaged and hostile data sets: only our own error class surfaces, nothing runs, nothing is written."""

import json
import os
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcompass.cli import main
from segcompass.datasets.load import load_samples
from segcompass.datasets.masks import checked_rle
from segcompass.datasets.pickles import load_plain_pickle
from segcompass.errors import InputError
from tests.datasets.test_loaders import refer_root

ROUNDS = 90
"""Damaged copies of each of the six files: 540 in all."""


def reasonseg_root(tmp_path: Path, **changes: object) -> Path:
    folder = tmp_path / "ReasonSeg" / "val"
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(folder / "a.jpg")
    shapes = [{"label": "target", "shape_type": "polygon", "points": [[1, 1], [9, 1], [9, 9]], "image_name": "a.jpg"}]
    shapes.append({"label": "ignore", "shape_type": "polygon", "points": [[8, 8], [12.5, 8], [12, 11]], "image_name": "a.jpg"})
    (folder / "a.json").write_text(json.dumps({"text": ["what is it?"], "is_sentence": True, "shapes": shapes} | changes))
    return tmp_path


def grefcoco_root(tmp_path: Path) -> Path:
    root = refer_root(tmp_path)
    (root / "grefcoco").mkdir()
    (root / "grefcoco" / "instances.json").write_bytes((root / "refcoco" / "instances.json").read_bytes())
    sentence = {"sent": "both", "raw": "both", "tokens": ["both"]}
    refs = [
        {
            "ann_id": ids,
            "image_id": 7,
            "no_target": ids == [-1],
            "split": "val",
            "ref_id": number,
            "sentences": [sentence | {"sent_id": number}],
        }
        for number, ids in enumerate(([70], [-1]))
    ]
    (root / "grefcoco" / "grefs(unc).json").write_text(json.dumps(refs))
    return root


def damaged(data: bytes, generator: np.random.Generator) -> bytes:
    """One of: cut short, bytes overwritten, a piece doubled, a number or a type exchanged, noise."""
    kind = generator.integers(6)
    place = int(generator.integers(len(data)))
    if kind == 0:
        return data[:place]
    if kind == 1:
        changed = bytearray(data)
        for _ in range(int(generator.integers(1, 9))):
            changed[int(generator.integers(len(data)))] = int(generator.integers(256))
        return bytes(changed)
    if kind == 2:
        return data[:place] + data[place // 2 :]
    if kind == 3:
        numbers = [index for index, byte in enumerate(data) if 48 <= byte <= 57]
        at = numbers[int(generator.integers(len(numbers)))]
        return (
            data[:at]
            + generator.choice([b"-1e999", b"NaN", b"null", b"1e30", b"[[]]", b'"x"', b"99999999999999999999", b"1" + b"0" * 400])
            + data[at + 1 :]
        )
    if kind == 4:
        words = [b"70", b"polygon", b"points", b"split", b"sentences", b"height", b"segmentation", b"text", b"ann_id", b"target"]
        return data.replace(words[int(generator.integers(len(words)))], b"zzz")
    return generator.integers(0, 256, 60, dtype=np.uint8).tobytes()


FILES = [
    ("refcoco", "refcoco/refs(unc).p"),
    ("refcoco", "refcoco/instances.json"),
    ("grefcoco", "grefcoco/grefs(unc).json"),
    ("grefcoco", "grefcoco/instances.json"),
    ("reasonseg", "ReasonSeg/val/a.json"),
    ("reasonseg", "ReasonSeg/val/a.jpg"),
]


@pytest.mark.parametrize(("benchmark", "name"), FILES)
def test_only_our_error_surfaces_from_damaged_files(tmp_path: Path, benchmark: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = reasonseg_root(grefcoco_root(tmp_path))
    path = root / name
    whole = path.read_bytes()
    generator = np.random.default_rng(zlib.crc32(f"{benchmark} {name}".encode()))
    refused = 0
    for _ in range(ROUNDS):
        path.write_bytes(damaged(whole, generator))
        try:
            for sample in load_samples(root, benchmark, "val"):
                assert sample.target["size"] == [sample.height, sample.width]
        except InputError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1 and str(error).endswith(".")
        if refused % 5 == 1:
            assert main(["check", str(root), "--deep"]) == 1, "the images of COCO are not there"
            assert not capsys.readouterr().err
    assert refused > ROUNDS // 5, "the damage is damage"
    path.write_bytes(whole)
    assert list(load_samples(root, benchmark, "val"))


VALUES: list[object] = [None, True, False, 0, -1, 2.5, 10**30, 10**400, -1e308, float("nan"), float("inf")]
VALUES += ["", "x", "\0", "\ud800", "a\nb\u2028c", "7", b"x", "y" * 5000, [], {}, [[]], [None], [-1], [[1] * 7]]
VALUES += [{"size": [10, 12]}, {"size": [10, 12], "counts": [120]}, {"size": [10, 12], "counts": "0" * 40}]


def exchanged(value: object, generator: np.random.Generator, parts: object = None) -> object:
    """A copy in which one value, somewhere, is another one, is gone, or stands twice."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or generator.random() < 0.12:
        return VALUES[int(generator.integers(len(VALUES)))]
    key = keys[int(generator.integers(len(keys)))]
    copied = dict(value) if isinstance(value, dict) else list(value)
    kind = generator.random()
    if kind < 0.08:
        del copied[key]
    elif kind < 0.16 and isinstance(copied, list):
        copied.append(copied[key])
    else:
        copied[key] = exchanged(value[key], generator)
    return copied


@pytest.mark.parametrize(("benchmark", "name"), [file for file in FILES if not file[1].endswith(".jpg")])
def test_wrong_values_anywhere_cost_one_sentence(tmp_path: Path, benchmark: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the commands, as a stranger meets them: `samples` lists or refuses, `check` reports either way."""
    root = reasonseg_root(grefcoco_root(tmp_path))
    path = root / name
    pickled = name.endswith(".p")
    content = pickle.loads(path.read_bytes()) if pickled else json.loads(path.read_text())  # noqa: S301 - our own file
    generator = np.random.default_rng(zlib.crc32(f"exchanged {name}".encode()))
    codes = []
    for _ in range(2 * ROUNDS):
        changed = exchanged(content, generator)
        path.write_bytes(pickle.dumps(changed, 2) if pickled else json.dumps(changed, default=lambda value: value.decode()).encode())
        codes.append(main(["samples", str(root), "--benchmark", benchmark, "--split", "val"]))
        captured = capsys.readouterr()
        assert len(captured.err.splitlines()) == (codes[-1] == 2) and len(captured.err) < 1000
        for line in captured.out.splitlines():
            sample = json.loads(line)
            assert checked_rle(sample["target"], sample["height"], sample["width"]) and sample["text"].encode()
        if len(codes) % 4 == 0:
            assert main(["check", str(root), "--deep"]) == 1
            report = capsys.readouterr()
            assert not report.err and report.out.encode()
    assert set(codes) == {0, 2} and min(codes.count(0), codes.count(2)) > ROUNDS // 6


class Runs:
    """A pickle of it would make a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_names_code_is_refused_by_name_and_runs_nothing(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "trap"
    path = tmp_path / "refs.p"
    path.write_bytes(pickle.dumps([{"ref": Runs(trap)}], protocol))
    with pytest.raises(InputError, match="mkdir"):
        load_plain_pickle(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"\x80\x02ccopy_reg\n_reconstructor\n.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
        b"\x80\x02Pabc\n.",
        b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\x7fx.",
        b"r\xff\xff\xff\xffN.",
        b"",
    ],
)
def test_hostile_pickles_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(data)
    with pytest.raises(InputError):
        load_plain_pickle(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"shapes": [{"label": "target", "points": [[float("nan"), 1], [2, 2], [3, 3]]}]},
        {"shapes": [{"label": "target", "points": [[1e308, 1], [2, 2], [3, 3]]}]},
        {"shapes": [{"label": "target", "points": "no"}]},
        {"shapes": [{"label": ["target"], "points": []}]},
        {"text": "no list"},
        {"text": ["x" * 10_000_000]},
        {"text": [" "]},
        {"text": ["half a pair \ud83d"]},
        {"text": [["x"]]},
        {"text": {"0": "x"}},
        {"shapes": [{"label": "target", "points": [[10**400, 1], [2, 2], [3, 3]]}]},
        {"shapes": [{"label": "target", "points": [[True, 1], [2, 2], [3, 3]]}]},
        {"shapes": [None]},
    ],
)
def test_hostile_reasonseg_annotations_are_one_sentence(tmp_path: Path, changes: dict, capsys: pytest.CaptureFixture[str]) -> None:
    root = reasonseg_root(tmp_path, **changes)
    assert main(["samples", str(root), "--benchmark", "reasonseg", "--split", "val"]) == 2
    err = capsys.readouterr().err
    assert "ReasonSeg/val/a.json" in err and len(err.splitlines()) == 1 and len(err) < 1000


def test_deep_nesting_image_bombs_and_truncated_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = reasonseg_root(tmp_path)
    source, image = root / "ReasonSeg/val/a.json", root / "ReasonSeg/val/a.jpg"
    words = ["samples", str(root), "--benchmark", "reasonseg", "--split", "val"]
    whole, picture = source.read_bytes(), image.read_bytes()
    source.write_text("[" * 200_000)
    assert main(words) == 2 and "not valid JSON" in capsys.readouterr().err
    source.write_bytes(whole)
    Image.new("1", (30_000, 30_000)).save(image, "png")
    assert main(words) == 2 and "a.jpg" in capsys.readouterr().err
    image.write_bytes(picture[:40])
    assert main(words) == 2 and "not a readable image" in capsys.readouterr().err


def test_json_in_cp1252_and_flags_of_two_points_are_read(tmp_path: Path) -> None:
    shapes = [{"label": "flag", "points": [[1, 1], [2, 2]]}, {"label": "target", "points": [[-5, -5], [40, -5], [40, 40]]}]
    root = reasonseg_root(tmp_path)
    text = json.dumps({"text": ["caf\u00e9"], "is_sentence": False, "shapes": shapes}, ensure_ascii=False)
    (root / "ReasonSeg/val/a.json").write_bytes(text.encode("cp1252"))
    (sample,) = load_samples(root, "reasonseg", "val")
    assert sample.text == "caf\u00e9" and sample.ignore is None
