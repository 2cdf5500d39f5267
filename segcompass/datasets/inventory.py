"""What a data root holds against the facts of the originals: counts, missing images, suspicious annotations (formats.md section 1).

Of an image, its header is read, or, where that is asked for, all of it: a file that was cut short in a download has a whole header.
"""

from dataclasses import dataclass, field
from pathlib import Path

from pycocotools import mask as coco
from tqdm import tqdm

from segcompass.datasets.images import Header, Size, image_header, read_image
from segcompass.datasets.load import load_samples
from segcompass.datasets.refer import SPLIT_BY
from segcompass.datasets.samples import Sample
from segcompass.datasets.splits import EVALUATION_SPLITS, AbsentSplitError
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
"""Sample ids, or images, that a remark lists."""
MISSING, UNREADABLE = "missing image", "image file that cannot be used"
OTHER_SIZE = "image file of another size than its annotation"


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


def inspect(root: Path, deep: bool = False) -> list[Finding]:
    """Findings of every benchmark whose folder is there, each partition on its own; `deep` decodes every image."""
    found = []
    images = Images(root, deep)
    for benchmark, splits in EVALUATION_SPLITS.items():
        folder = root / ("ReasonSeg" if benchmark == "reasonseg" else benchmark)
        if not folder.is_dir():
            continue
        parts: list[str | None] = [part for part in SPLIT_BY.get(benchmark, ()) if (folder / f"refs({part}).p").is_file()]
        for part in parts or [None]:
            for split in dict.fromkeys(("train", *splits, "test")):
                finding = _split(images, benchmark, split, part)
                if finding is not None:
                    found.append(finding)
    return found


class Images:
    """The image files of a data root, each looked at once, however many splits name it."""

    def __init__(self, root: Path, deep: bool) -> None:
        self.root, self.deep = root, deep
        self._seen: dict[tuple[str, Size], tuple[str, str]] = {}

    def look(self, image: str, size: Size) -> tuple[str, str]:
        """(what is odd about an image whose annotation says `size`, the reader's sentence if it refuses it); empty where all is well."""
        if (image, size) not in self._seen:
            self._seen[image, size] = self._looked_at(self.root / image, size)
        return self._seen[image, size]

    def _looked_at(self, path: Path, size: Size) -> tuple[str, str]:
        try:
            header = image_header(path)
            if self.deep:
                read_image(path, size)
        except InputError as error:
            return MISSING if isinstance(error.__cause__, FileNotFoundError) else UNREADABLE, str(error)
        return _about_size(header, size), ""


def _about_size(header: Header, size: Size) -> str:
    if size not in (header.upright, header.stored):
        return OTHER_SIZE
    if header.turned and not header.turns(size):
        return "EXIF orientation that the annotated size contradicts; read as stored"
    if header.turned and header.upright == header.stored:
        return "EXIF orientation that the annotated size leaves open; read upright"
    return ""


def _split(images: Images, benchmark: str, split: str, part: str | None) -> Finding | None:
    name = f"{split} ({part})" if part else split
    finding = Finding(benchmark, name, expected=EXPECTED.get((benchmark, split), "") if part in (None, "unc") else "")
    odd: dict[str, list[str]] = {}
    sizes: dict[str, Size] = {}
    try:
        for sample in load_samples(images.root, benchmark, split, part):
            finding.expressions += 1
            sizes[sample.image] = (sample.height, sample.width)
            for remark in _oddities(sample):
                odd.setdefault(remark, []).append(sample.sample_id)
    except AbsentSplitError:
        return None
    except InputError as error:
        finding.usable = False
        finding.remarks.append(str(error))
    finding.images = len(sizes)
    for image, size in tqdm(sizes.items(), desc=f"images of {benchmark} {name}", disable=None, leave=False):
        remark, sentence = images.look(image, size)
        if remark:
            odd.setdefault(remark, []).append(image)
        if remark == UNREADABLE and len(odd[remark]) == 1:
            finding.remarks.append(sentence)
    finding.missing_images = len(odd.get(MISSING, ()))
    finding.usable &= not odd.keys() & {MISSING, UNREADABLE, OTHER_SIZE}
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
