"""The loaders read the real layouts with their quirks, and refuse what is damaged or hostile with one sentence."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcompass.datasets.images import read_image
from segcompass.datasets.load import load_samples
from segcompass.datasets.masks import checked_rle, decode, encode, from_segmentation
from segcompass.datasets.pickles import load_plain_pickle
from segcompass.datasets.samples import read_samples, write_samples
from segcompass.errors import InputError

SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]
"""Covers the 4 x 4 pixels of rows and columns 2 to 5."""


def refer_root(tmp_path: Path, segmentation: object = None, **ref: object) -> Path:
    folder = tmp_path / "refcoco"
    folder.mkdir()
    name = "COCO_train2014_000000000007.jpg"
    annotations = [{"id": 70, "image_id": 7, "iscrowd": 0, "segmentation": segmentation or [SQUARE, [1, 1, 2, 2]]}]
    annotations.append({"id": 71, "image_id": 7, "iscrowd": 1, "segmentation": encode(np.ones((10, 12), bool))})
    images = [{"id": 7, "file_name": name, "height": 10, "width": 12}]
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    sentences = [{"sent_id": n, "sent": text, "raw": text, "tokens": text.split()} for n, text in ((4, "left box"), (5, "the box"))]
    entry = {"ref_id": 1, "ann_id": 70, "image_id": 7, "file_name": name.replace(".jpg", "_3.jpg"), "split": "val", "sentences": sentences}
    (folder / "refs(unc).p").write_bytes(pickle.dumps([entry | ref], protocol=0))
    return tmp_path


def test_refer_reads_every_sentence_and_finds_the_image_by_its_id(tmp_path: Path) -> None:
    root = refer_root(tmp_path)
    samples = list(load_samples(root, "refcoco", "val"))
    assert [s.sample_id for s in samples] == ["refcoco_unc_val_s4", "refcoco_unc_val_s5"]
    assert samples[0].image == "images/mscoco/images/train2014/COCO_train2014_000000000007.jpg"
    expected = np.zeros((10, 12), bool)
    expected[2:6, 2:6] = True
    assert np.array_equal(decode(samples[0].target), expected)
    assert len(list(load_samples(root, "refcoco", "val", per_ref=True))) == 1
    assert write_samples(samples, tmp_path / "s.jsonl") == 2
    assert list(read_samples(tmp_path / "s.jsonl")) == samples


def test_a_crowd_is_no_target(tmp_path: Path) -> None:
    (sample, _) = load_samples(refer_root(tmp_path, ann_id=71), "refcoco", "val")
    assert sample.instances == () and not decode(sample.target).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 8}, "image 8"),
        ({"ann_id": 72}, "annotation 72"),
        ({"sentences": [{"sent_id": 1, "sent": "x" * 20_000}]}, "characters"),
        ({"sentences": 3}, "ref 0"),
        ({"split": "other"}, "no expression of `val`"),
        ({"sentences": [{"sent_id": "4", "sent": "x"}]}, "sentences.0.sent_id: is not a whole number"),
        ({"sentences": [{"sent_id": 1e999, "sent": "x"}]}, "sentences.0.sent_id: is not a whole number"),
        ({"sentences": [{"sent_id": 4, "sent": "x"}, {"sent_id": 4, "sent": "y"}]}, r"sentences.1.sent_id: makes .* `refcoco_unc_val_s4`"),
    ],
)
def test_faulty_refs_are_named(tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(load_samples(refer_root(tmp_path, **change), "refcoco", "val"))


@pytest.mark.parametrize(
    "name", ["../../secret.jpg", "/etc/passwd", "a/../../../b.jpg", "..", "a\\..\\b", "", "a\0b", "\x1b[2Ja", "\ud800", 7, None]
)
def test_names_that_leave_the_root_are_refused(tmp_path: Path, name: object) -> None:
    root = refer_root(tmp_path)
    path = root / "refcoco" / "instances.json"
    raw = json.loads(path.read_text())
    raw["images"][0]["file_name"] = name
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match="file_name"):
        list(load_samples(root, "refcoco", "val"))


def test_links_that_the_owner_laid_are_followed(tmp_path: Path) -> None:
    """A linked folder of images, and every annotation file a link into a cache, as `dvc add` leaves them with `cache.type symlink`."""
    plain, linked, cache = tmp_path / "plain", tmp_path / "linked", tmp_path / "elsewhere"
    for folder in (plain, linked, cache):
        folder.mkdir()
    refer_root(plain)
    (linked / "refcoco").mkdir()
    for number, file in enumerate(sorted((plain / "refcoco").iterdir())):
        (cache / str(number)).write_bytes(file.read_bytes())
        (linked / "refcoco" / file.name).symlink_to(cache / str(number))
    folder = linked / "images" / "mscoco" / "images"
    folder.mkdir(parents=True)
    (cache / "train2014").mkdir()
    (folder / "train2014").symlink_to(cache / "train2014")
    samples = list(load_samples(linked, "refcoco", "val"))
    assert samples == list(load_samples(plain, "refcoco", "val"))
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(cache / "blob.png")
    (linked / samples[0].image).symlink_to(cache / "blob.png")
    assert np.array_equal(read_image(linked / samples[0].image, (10, 12)), pixels)
    (cache / "blob.png").unlink()
    with pytest.raises(InputError, match=r"is a link to .*blob\.png, which is not there"):
        read_image(linked / samples[0].image)


class _Bomb:
    def __reduce__(self):
        return (os.system, ("touch executed",))


def test_a_pickle_that_names_a_global_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "refs.p"
    path.write_bytes(pickle.dumps([_Bomb()]))
    with pytest.raises(InputError, match=r"system"):
        load_plain_pickle(path)
    assert not (tmp_path / "executed").exists()


def test_python_2_text_and_numbers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "refs.p"
    # What Python 2 writes for [{'sent': 'caf\xe9', u'n': 3L}] in protocol 0.
    path.write_bytes(b"(lp0\n(dp1\nS'sent'\np2\nS'caf\\xe9'\np3\nsVn\np4\nL3L\nsa.")
    assert load_plain_pickle(path) == [{"sent": "caf\xe9", "n": 3}]


@pytest.mark.parametrize(
    ("rle", "words"),
    [
        ({"size": [4, 5], "counts": [20]}, "size"),
        ({"size": [5, 4], "counts": [3, 4]}, "sum to 7"),
        ({"size": [5, 4], "counts": [30, -10]}, "neither"),
        ({"size": [5, 4], "counts": "\x7f\x7f"}, "character"),
        ({"size": [5, 4], "counts": 3}, "neither"),
        ([1, 2], "size"),
    ],
)
def test_broken_codes_are_refused(rle: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        checked_rle(rle, 5, 4)


def doubled(tmp_path: Path, name: str, **second: object) -> Path:
    """A root whose first image or annotation is listed a second time, changed as given."""
    root = refer_root(tmp_path)
    path = root / "refcoco" / "instances.json"
    raw = json.loads(path.read_text())
    raw[name].append(raw[name][0] | second)
    path.write_text(json.dumps(raw))
    return root


@pytest.mark.parametrize(("name", "change"), [("images", {"height": 11}), ("annotations", {"iscrowd": 1})])
def test_ids_that_stand_for_two_things_are_refused(tmp_path: Path, name: str, change: dict) -> None:
    with pytest.raises(InputError, match="is listed twice, with different content"):
        list(load_samples(doubled(tmp_path, name, **change), "refcoco", "val"))


@pytest.mark.parametrize("name", ["images", "annotations"])
def test_entries_that_are_written_twice_are_one(tmp_path: Path, name: str) -> None:
    assert len(list(load_samples(doubled(tmp_path, name), "refcoco", "val"))) == 2


def test_sentence_ids_of_two_refs_and_texts_of_two_files_do_not_meet(tmp_path: Path) -> None:
    root = refer_root(tmp_path)
    path = root / "refcoco" / "refs(unc).p"
    refs = pickle.loads(path.read_bytes())  # noqa: S301 - our own file
    path.write_bytes(pickle.dumps([refs[0], refs[0] | {"split": "train"}]))
    assert len(list(load_samples(root, "refcoco", "val"))) == 2, "ids name their split"
    path.write_bytes(pickle.dumps([*refs, refs[0] | {"ref_id": 2}]))
    with pytest.raises(
        InputError, match=r"ref 1\.sentences\.0\.sent_id: makes the sample id `refcoco_unc_val_s4`, which ref 0 has already"
    ):
        list(load_samples(root, "refcoco", "val"))
    folder = tmp_path / "ReasonSeg" / "train"
    folder.mkdir(parents=True)
    for stem, text in (("a", ["one", "two"]), ("a_t1", ["three"])):
        Image.new("RGB", (20, 16)).save(folder / f"{stem}.jpg")
        (folder / f"{stem}.json").write_text(json.dumps({"text": text, "is_sentence": True, "shapes": []}))
    with pytest.raises(InputError, match=r"a_t1\.json: text\.0: makes the sample id `reasonseg_train_a_t1`, which a\.json has already"):
        list(load_samples(tmp_path, "reasonseg", "train"))


def test_random_codes_survive_the_check() -> None:
    generator = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.5, 1.0):
        mask = generator.random((37, 53)) < density
        assert np.array_equal(decode(checked_rle(encode(mask), 37, 53)), mask)


def test_short_polygons_are_dropped_and_nan_refused() -> None:
    assert not decode(from_segmentation([[1, 1, 2, 2]], 8, 8)).any()
    with pytest.raises(ValueError, match="finite"):
        from_segmentation([[1, 1, 2, 2, float("nan"), 4]], 8, 8)
    far = 10**400
    assert decode(from_segmentation([[0, 0, far, 0, far, far, 0, far]], 8, 8)).all(), "a number that no float holds is only far away"


def reasonseg_root(tmp_path: Path, shapes: list, text: list | None = None, encoding: str = "utf-8") -> Path:
    folder = tmp_path / "ReasonSeg" / "val"
    folder.mkdir(parents=True)
    Image.new("RGB", (20, 16)).save(folder / "a.jpg")
    content = {"text": text or ["first", "second"], "is_sentence": True, "shapes": shapes}
    (folder / "a.json").write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    return tmp_path


def box(label: str, x0: float, y0: float, x1: float, y1: float) -> dict:
    return {"label": label, "points": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]}


def test_reasonseg_paints_by_area_and_skips_flags(tmp_path: Path) -> None:
    # Target rows 2-11, columns 2-11 (10 x 10 pixels, outline included); ignore 4 x 4 within it wins because it is smaller;
    # the flag has two points; the third target lies partly outside the image and keeps its two inner columns.
    shapes = [
        box("ignore", 4, 4, 7, 7),
        box("target", 2.9, 2.2, 11, 11),
        {"label": "flag", "points": [[1, 1], [2, 2]]},
        box("target", 18, 0, 40, 3),
    ]
    (sample,) = load_samples(reasonseg_root(tmp_path, shapes), "reasonseg", "val")
    target, ignore = decode(sample.target), decode(sample.ignore)
    assert sample.text == "first" and (sample.height, sample.width) == (16, 20)
    assert ignore.sum() == 16 and ignore[4:8, 4:8].all()
    assert target.sum() == 100 - 16 + 2 * 4


@pytest.mark.parametrize(
    ("label", "pixels", "ignored"),
    [("target", 9, 0), ("Ignore", 0, 9), ("please IGNORE", 0, 9), ("FLAG", 0, 0), ("flagpole", 9, 0), ("Target", 9, 0)],
)
def test_reasonseg_labels_are_read_as_lisa_reads_them(tmp_path: Path, label: str, pixels: int, ignored: int) -> None:
    (sample,) = load_samples(reasonseg_root(tmp_path, [box(label, 4, 4, 6, 6)]), "reasonseg", "val")
    assert decode(sample.target).sum() == pixels and (decode(sample.ignore).sum() if sample.ignore else 0) == ignored


@pytest.mark.parametrize(("first", "second", "pixels"), [("target", "ignore", 9), ("ignore", "target", 0)])
def test_of_two_shapes_of_one_area_the_first_in_the_file_wins(tmp_path: Path, first: str, second: str, pixels: int) -> None:
    (sample,) = load_samples(reasonseg_root(tmp_path, [box(first, 4, 4, 6, 6), box(second, 4, 4, 6, 6)]), "reasonseg", "val")
    assert decode(sample.target).sum() == pixels


def test_hidden_files_of_an_archive_are_no_annotations(tmp_path: Path) -> None:
    root = reasonseg_root(tmp_path, [box("target", 4, 4, 6, 6)])
    (root / "ReasonSeg" / "val" / "._a.json").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    assert len(list(load_samples(root, "reasonseg", "val"))) == 1


def test_reasonseg_without_polygon_is_kept_and_cp1252_is_read(tmp_path: Path) -> None:
    (sample,) = load_samples(reasonseg_root(tmp_path, [], ["caf\xe9"], "cp1252"), "reasonseg", "val")
    assert sample.text == "caf\xe9" and sample.instances == () and not decode(sample.target).any()


@pytest.mark.parametrize("points", [[[1, float("inf")], [2, 2], [3, 3]], "x", [[1]], [[1, 1e9]], [[1, 10**400]], []])
def test_reasonseg_refuses_impossible_points(tmp_path: Path, points: object) -> None:
    with pytest.raises(InputError, match="points"):
        list(load_samples(reasonseg_root(tmp_path, [{"label": "target", "points": points}]), "reasonseg", "val"))


def test_deep_nesting_and_damaged_files_give_one_sentence(tmp_path: Path) -> None:
    root = reasonseg_root(tmp_path, [])
    for content in (b"[" * 100_000, b"{", b"\xff\xfe\x00", b""):
        (root / "ReasonSeg" / "val" / "a.json").write_bytes(content)
        with pytest.raises(InputError):
            list(load_samples(root, "reasonseg", "val"))
