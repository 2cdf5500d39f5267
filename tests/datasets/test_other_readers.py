"""The embedded data set, read the way the field's own readers do, agrees with our loaders sample by sample, pixel by pixel.

The readers here follow the documented behaviour of the refer API (plain pickle, indices by id, polygons summed after decoding), of
gRefCOCO's API (annotation lists, -1 for no target) and of LISA's ReasonSeg rasteriser (outline and filled polygon, larger areas first).
"""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from segcompass.datasets.load import load_samples
from segcompass.datasets.masks import decode
from segcompass.provenance.code_digest import stage_digest
from segcompass.stages.prepare_data import main
from tests.tiny import micro_study


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data root of the micro study's world."""
    folder = tmp_path_factory.mktemp("world")
    params = {"data": micro_study().data.model_dump(mode="json")}
    frozen = {"stage": "prepare_data", "wildcards": {}, "params": params, "code": stage_digest("prepare_data", Path.cwd())}
    (folder / "frozen.json").write_text(json.dumps(frozen))
    assert main(["--params", str(folder / "frozen.json"), "--out", str(folder / "data")]) == 0
    return folder / "data" / "root"


def annotation_mask(annotation: dict, image: dict) -> np.ndarray:
    """One annotation's mask as the refer API makes it."""
    segmentation = annotation["segmentation"]
    assert type(segmentation[0]) is list, "the refer API looks at the first element, and fails on a single RLE"
    return coco.decode(coco.frPyObjects(segmentation, image["height"], image["width"])).sum(2) > 0


def refer_family(root: Path, benchmark: str, refs: list[dict], split: str) -> Iterator[tuple[str, str, np.ndarray, bool]]:
    """(file name, sentence, mask, no target) of every sentence of a split."""
    instances = json.loads((root / benchmark / "instances.json").read_text())
    images = {image["id"]: image for image in instances["images"]}
    annotations = {annotation["id"]: annotation for annotation in instances["annotations"]}
    categories = {category["id"]: category["name"] for category in instances["categories"]}
    for ref in refs:
        if ref["split"] != split:
            continue
        image = images[ref["image_id"]]
        ids = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
        kinds = ref["category_id"] if isinstance(ref["category_id"], list) else [ref["category_id"]]
        absent = ids == [-1]
        mask = np.zeros((image["height"], image["width"]), bool)
        if not absent:
            assert [annotations[number]["category_id"] for number in ids] == kinds and set(kinds) <= set(categories)
            for number in ids:
                mask |= annotation_mask(annotations[number], image)
        assert [sentence["sent_id"] for sentence in ref["sentences"]] == ref["sent_ids"]
        for sentence in ref["sentences"]:
            assert sentence["tokens"] == sentence["sent"].split()
            yield image["file_name"], sentence["sent"], mask, absent


@pytest.mark.parametrize(
    ("benchmark", "name", "splits"),
    [
        ("refcoco", "refs(unc).p", ("train", "val", "testA", "testB")),
        ("refcoco+", "refs(unc).p", ("train", "val")),
        ("refcocog", "refs(umd).p", ("train", "val", "test")),
        ("grefcoco", "grefs(unc).json", ("train", "val", "testA", "testB")),
    ],
)
def test_the_refer_way(root: Path, benchmark: str, name: str, splits: tuple[str, ...]) -> None:
    path = root / benchmark / name
    refs = pickle.loads(path.read_bytes()) if name.endswith(".p") else json.loads(path.read_text())  # noqa: S301 - our own file
    for split in splits:
        ours = list(load_samples(root, benchmark, split))
        theirs = list(refer_family(root, benchmark, refs, split))
        assert len(ours) == len(theirs) > 0
        for sample, (image, sentence, mask, absent) in zip(ours, theirs, strict=True):
            assert (sample.image.rpartition("/")[2], sample.text, sample.no_target) == (image, sentence, absent)
            assert np.array_equal(decode(sample.target), mask)


def test_ref_file_names_carry_a_suffix_that_names_no_file(root: Path) -> None:
    refs = pickle.loads((root / "refcoco" / "refs(unc).p").read_bytes())  # noqa: S301 - our own file
    images = root / "images" / "mscoco" / "images" / "train2014"
    assert not any((images / ref["file_name"]).exists() for ref in refs)


def lisa_masks(source: Path, height: int, width: int) -> np.ndarray:
    """Label map as LISA's rasteriser makes it: 0 background, 1 target, 255 ignore."""
    shapes = [shape for shape in json.loads(source.read_text(encoding="utf-8"))["shapes"] if shape["label"].lower() != "flag"]
    areas = []
    for shape in shapes:
        probe = np.zeros((height, width), np.uint8)
        points = np.array([shape["points"]], dtype=np.int32)
        cv2.polylines(probe, points, True, 1, 1)
        cv2.fillPoly(probe, points, 1)
        areas.append(probe.sum())
    labels = np.zeros((height, width), np.uint8)
    for index in np.argsort(areas, kind="stable")[::-1].astype(np.int32):  # of few shapes; the default kind breaks ties by the processor
        value = 255 if "ignore" in shapes[index]["label"].lower() else 1
        points = np.array([shapes[index]["points"]], dtype=np.int32)
        cv2.polylines(labels, points, True, value, 1)
        cv2.fillPoly(labels, points, value)
    return labels


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_reasonseg_way(root: Path, split: str) -> None:
    samples = list(load_samples(root, "reasonseg", split))
    for sample in samples:
        labels = lisa_masks((root / sample.image).with_suffix(".json"), sample.height, sample.width)
        assert np.array_equal(decode(sample.target), labels == 1)
        assert np.array_equal(labels == 255, decode(sample.ignore) if sample.ignore else np.zeros_like(labels, bool))
    if split == "train":
        assert len(samples) > len(list((root / "ReasonSeg" / split).glob("*.json"))), "every text of train, one of val and test"
    else:
        assert len(samples) == len(list((root / "ReasonSeg" / split).glob("*.json")))
    assert any(sample.ignore for sample in load_samples(root, "reasonseg", "train")), "ignore regions are exercised"


LABELS = [
    "target",
    "Target",
    "ignore",
    "Ignore",
    "IGNORE_region",
    "do not ignore",
    "flag",
    "Flag",
    "FLAG",
    "flagged",
    "flag ",
    "red flag",
    "",
]


def test_labels_and_ties_the_lisa_way(tmp_path: Path) -> None:
    """Shapes of few areas, so that many tie, with labels in every writing."""
    generator = np.random.default_rng(5)
    folder = tmp_path / "ReasonSeg" / "val"
    folder.mkdir(parents=True)
    for number in range(60):
        shapes = []
        for _ in range(int(generator.integers(1, 12))):
            x, y, side = (int(value) for value in generator.integers(0, 14, 3))
            corners = [[x, y], [x + side % 4 + 1, y], [x + side % 4 + 1, y + 3], [x, y + 3]]
            shapes.append({"label": LABELS[int(generator.integers(len(LABELS)))], "points": corners})
        shapes += [{"label": label, "points": [[1, 1], [4, 1], [4, 4]]} for label in generator.permutation(["target", "Ignore"]).tolist()]
        cv2.imwrite(str(folder / f"{number}.jpg"), np.zeros((16, 20, 3), np.uint8))
        (folder / f"{number}.json").write_text(json.dumps({"text": ["what?"], "is_sentence": True, "shapes": shapes}))
    for sample in load_samples(tmp_path, "reasonseg", "val"):
        labels = lisa_masks((tmp_path / sample.image).with_suffix(".json"), sample.height, sample.width)
        assert np.array_equal(decode(sample.target), labels == 1), sample.sample_id
        assert np.array_equal(labels == 255, decode(sample.ignore) if sample.ignore else np.zeros_like(labels, bool)), sample.sample_id
