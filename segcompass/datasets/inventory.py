"""What a data root holds against the facts of the originals: counts, missing images, suspicious annotations (formats.md section 1)."""

from dataclasses import dataclass, field
from pathlib import Path

from pycocotools import mask as coco

from segcompass.datasets.files import image_size
from segcompass.datasets.load import load_samples
from segcompass.datasets.refer import SPLIT_BY
from segcompass.datasets.samples import Sample
from segcompass.datasets.splits import EVALUATION_SPLITS
from segcompass.errors import InputError

BENCHMARK_FILES = {
    **{name: [f"{name}/instances.json", *(f"{name}/refs({part}).p" for part in parts)] for name, parts in SPLIT_BY.items()},
    "grefcoco": ["grefcoco/instances.json", "grefcoco/grefs(unc).json"],
    "reasonseg": [],
}
"""Benchmark -> its annotation files; ReasonSeg has one beside each image."""
EXPECTED = {
    ("refcoco", "train"): "42,404 refs",
    ("refcoco", "val"): "3,811 refs",
    ("refcoco", "testA"): "3,785 refs with testB",
    ("refcoco", "testB"): "3,785 refs with testA",
    ("reasonseg", "train"): "239 images",
    ("reasonseg", "val"): "200 images",
    ("reasonseg", "test"): "779 images, 777 with a polygon",
}
"""Counts that are known of the originals; RefCOCO (unc) has 142,210 expressions of 50,000 refs on 19,994 images in all."""
SMALLEST_TARGET = 16
"""Pixels; a smaller target is remarked on."""
SHOWN = 5
"""Sample ids that a remark lists."""


@dataclass
class Finding:
    """What was found of one split."""

    benchmark: str
    split: str
    usable: bool = True
    expressions: int = 0
    images: int = 0
    missing_images: int = 0
    expected: str = ""
    remarks: list[str] = field(default_factory=list)


def inspect(root: Path) -> list[Finding]:
    """Findings of every benchmark whose folder is there, each partition on its own."""
    found = []
    for benchmark, splits in EVALUATION_SPLITS.items():
        folder = root / ("ReasonSeg" if benchmark == "reasonseg" else benchmark)
        if not folder.is_dir():
            continue
        parts: list[str | None] = [part for part in SPLIT_BY.get(benchmark, ()) if (folder / f"refs({part}).p").is_file()]
        for part in parts or [None]:
            for split in dict.fromkeys(("train", *splits, "test")):
                finding = _split(root, benchmark, split, part)
                if finding is not None:
                    found.append(finding)
    return found


def _split(root: Path, benchmark: str, split: str, part: str | None) -> Finding | None:
    name = f"{split} ({part})" if part else split
    finding = Finding(benchmark, name, expected=EXPECTED.get((benchmark, split), "") if part in (None, "unc") else "")
    odd: dict[str, list[str]] = {}
    images: dict[str, tuple[int, int]] = {}
    try:
        for sample in load_samples(root, benchmark, split, part):
            finding.expressions += 1
            images[sample.image] = (sample.height, sample.width)
            for remark in _oddities(sample):
                odd.setdefault(remark, []).append(sample.sample_id)
    except InputError as error:
        if error.field == "split":
            return None  # this partition has no such split
        finding.usable = False
        finding.remarks.append(str(error))
    finding.images = len(images)
    for image, size in images.items():
        try:
            if image_size(root / image) != size:
                odd.setdefault("size of the image file differs from the annotation", []).append(image)
        except InputError:
            finding.missing_images += 1
    finding.usable &= not finding.missing_images
    for remark, names in odd.items():
        finding.remarks.append(f"{len(names)} x {remark}: {', '.join(names[:SHOWN])}{' …' if len(names) > SHOWN else ''}")
    return finding


def _oddities(sample: Sample) -> list[str]:
    area = int(coco.area(sample.target))
    found = []
    if not sample.no_target and not area:
        found.append("target without a pixel")
    elif 0 < area < SMALLEST_TARGET:
        found.append(f"target of fewer than {SMALLEST_TARGET} pixels")
    if area == sample.height * sample.width:
        found.append("target that fills the image")
    if sample.ignore is not None and int(coco.area(sample.ignore)) > area:
        found.append("ignore region larger than the target")
    return found
