"""RefCOCO, RefCOCO+ and RefCOCOg: a pickle of refs and a COCO instances file.

`file_name` of a ref carries an `_N` suffix in the originals and names no file: images are looked up by `image_id`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcompass.datasets.files import inside, read_json
from segcompass.datasets.images import MOST_PIXELS
from segcompass.datasets.masks import Rle, empty, from_segmentation, union
from segcompass.datasets.pickles import load_plain_pickle
from segcompass.datasets.samples import Sample, SampleIds, checked_text
from segcompass.datasets.splits import AbsentSplitError
from segcompass.errors import InputError

SPLIT_BY = {"refcoco": ("unc", "google"), "refcoco+": ("unc",), "refcocog": ("umd", "google")}
"""Benchmark -> its partitions, the usual one first."""
IMAGES = "images/mscoco/images/train2014"


@dataclass
class Instances:
    """`instances.json`: images and annotations by id, masks made when asked for."""

    path: Path
    images: dict[int, dict[str, Any]]
    annotations: dict[int, dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "Instances":
        """Reads and indexes the file.

        Raises:
            InputError: missing, damaged, or without `images` or `annotations`.
        """
        raw = read_json(path)
        try:
            images = _by_id(raw["images"], path, "image")
            annotations = _by_id(raw["annotations"], path, "annotation")
        except (KeyError, TypeError) as error:
            raise InputError(
                path, "images, annotations", f"are not lists of COCO entries with ids ({error!r}); download it again"
            ) from error
        return cls(path, images, annotations)

    def image(self, root: Path, image_id: Any) -> tuple[str, int, int]:
        """(path below the root, height, width) of an image."""
        entry = self.images.get(image_id) if isinstance(image_id, int) else None
        if entry is None:
            raise InputError(self.path, f"image {str(image_id)[:40]}", "is named by a ref but not listed in images; download both again")
        height, width = entry.get("height"), entry.get("width")
        if not (type(height) is int and type(width) is int and height > 0 and width > 0 and height * width <= MOST_PIXELS):
            problem = f"height and width are not the sides of an image of at most {MOST_PIXELS} pixels; download it again"
            raise InputError(self.path, f"image {image_id}", problem)
        path = inside(root, IMAGES, entry.get("file_name"), self.path, f"image {image_id}.file_name")
        return str(path.relative_to(root)), height, width

    def masks(self, annotation_ids: list[Any], image_id: int, height: int, width: int) -> list[Rle]:
        """Masks of annotations, `iscrowd` ones left out: they are no targets."""
        found = []
        for annotation_id in annotation_ids:
            entry = self.annotations.get(annotation_id) if isinstance(annotation_id, int) else None
            if entry is None:
                named = f"annotation {str(annotation_id)[:40]}"
                raise InputError(self.path, named, "is named by a ref but not listed; download both again")
            if entry.get("image_id") != image_id:
                raise InputError(self.path, f"annotation {annotation_id}", "belongs to another image than its ref; download both again")
            if entry.get("iscrowd"):
                continue
            try:
                found.append(from_segmentation(entry.get("segmentation"), height, width))
            except ValueError as error:
                raise InputError(self.path, f"annotation {annotation_id}.segmentation", f"{error}; download it again") from error
        return found


def _by_id(entries: list[dict[str, Any]], path: Path, kind: str) -> dict[int, dict[str, Any]]:
    """Entries by id; one that is written twice, word for word the same, is one."""
    found: dict[int, dict[str, Any]] = {}
    for entry in entries:
        first = found.setdefault(entry["id"], entry)
        if first is not entry and first != entry:
            raise InputError(path, f"{kind} {entry['id']}", "is listed twice, with different content; download the annotations again")
    return found


def samples(root: Path, benchmark: str, split: str, split_by: str | None, per_ref: bool) -> Iterator[Sample]:
    """Samples of RefCOCO, RefCOCO+ or RefCOCOg."""
    partition = split_by or SPLIT_BY[benchmark][0]
    if partition not in SPLIT_BY[benchmark]:
        raise InputError(None, "--split-by", f"`{partition}` is none of {', '.join(SPLIT_BY[benchmark])} for {benchmark}")
    source = root / benchmark / f"refs({partition}).p"
    refs = load_plain_pickle(source)
    instances = Instances.read(root / benchmark / "instances.json")
    prefix = f"{benchmark}_{partition}_{split}"
    yield from expressions(root, refs, source, instances, split, prefix, per_ref)


def expressions(root: Path, refs: Any, source: Path, instances: Instances, split: str, prefix: str, per_ref: bool) -> Iterator[Sample]:
    """Samples of the refs of a split; `ann_id` is a number or, in gRefCOCO, a list, [-1] for no target.

    Raises:
        InputError: a ref lacks a key or names what is not there, or two sentences share an id.
        AbsentSplitError: no ref belongs to the split.
    """
    if not isinstance(refs, list):
        raise InputError(source, "", "is not a list of refs; download it again")
    ids = SampleIds()
    found = False
    for index, ref in enumerate(refs):
        try:
            if ref["split"] != split:
                continue
            image, height, width = instances.image(root, ref["image_id"])
            annotation_ids = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
            no_target = bool(ref.get("no_target", False)) or annotation_ids == [-1]
            masks = [] if no_target else instances.masks(annotation_ids, ref["image_id"], height, width)
            target = union(masks, height, width) if masks else empty(height, width)
            for number, sentence in enumerate(ref["sentences"][:1] if per_ref else ref["sentences"]):
                field = f"ref {index}.sentences.{number}"
                text = checked_text(sentence["sent"], source, f"{field}.sent")
                if type(sentence["sent_id"]) is not int:
                    raise InputError(source, f"{field}.sent_id", "is not a whole number; download it again")
                sample_id = ids.add(f"{prefix}_s{sentence['sent_id']}", source, f"{field}.sent_id", f"ref {index}")
                yield Sample(sample_id, image, height, width, text, no_target, target, None, tuple(masks))
                found = True
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
            raise InputError(source, f"ref {index}", f"is not a ref of the refer format ({error!r}); download it again") from error
    if not found:
        raise AbsentSplitError(source, "split", f"holds no expression of `{split}`; name a split of this benchmark")
