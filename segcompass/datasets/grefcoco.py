"""gRefCOCO: refs in JSON whose `ann_id` is a list; no target is `ann_id == [-1]` with `no_target: true`."""

from collections.abc import Iterator
from pathlib import Path

from segcompass.datasets.files import read_json
from segcompass.datasets.refer import Instances, expressions
from segcompass.datasets.samples import Sample


def samples(root: Path, benchmark: str, split: str, per_ref: bool) -> Iterator[Sample]:
    """Samples of gRefCOCO, or of another benchmark whose folder is in its format.

    Raises:
        InputError: a file is missing or breaks its format.
    """
    source = root / benchmark / "grefs(unc).json"
    instances = Instances.read(root / benchmark / "instances.json")
    yield from expressions(root, read_json(source), source, instances, split, f"{benchmark}_unc_{split}", per_ref)
