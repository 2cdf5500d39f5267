"""Whose codes stand in for a sample's own where it is asked what a path carries: other pictures, with instructions of their own.

A user has one picture; what it would be without its own codes must come from elsewhere. In this order: the pictures that `--donor` names;
those that a shipped run brings; the first pictures of the study's val split. A donor that is the user's own picture is left out.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from segcompass.backbone.interface import Image
from segcompass.datasets.artefact import each_sample, sample_image
from segcompass.datasets.images import read_image
from segcompass.datasets.samples import checked_text
from segcompass.errors import InputError
from segcompass.joint.stored_run import StoredRun

COUNT = 4
"""Donors over which shares are averaged."""
EXAMPLES = "examples"
INDEX = "examples.json"


@dataclass(frozen=True)
class Donor:
    """A picture and what is asked of it."""

    image: Image
    instruction: str
    name: str
    """Where it comes from."""


def donors_for(image: Image, stored: StoredRun, given: Sequence[tuple[str, str]]) -> list[Donor]:
    """At most `COUNT` donors for a picture, or all that were given; none where nothing is there.

    Raises:
        InputError: a donor cannot be read.
    """
    if given:
        return [Donor(read_image(Path(path)), checked_text(text, None, "--donor"), Path(path).name) for path, text in given]
    return list(islice((donor for donor in _others(stored) if not np.array_equal(donor.image, image)), COUNT))


def examples(folder: Path) -> list[tuple[Path, str]]:
    """Pictures and instructions that a shipped run brings.

    Raises:
        InputError: their list is damaged.
    """
    path = folder / EXAMPLES / INDEX
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [(folder / EXAMPLES / Path(str(row["image"])).name, str(row["instruction"])) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(path, "", f"is no list of pictures ({error}); ship the run again") from error


def _others(stored: StoredRun) -> Iterator[Donor]:
    if stored.study is None:
        for path, text in examples(stored.run):
            yield Donor(read_image(path), text, path.name)
        return
    data, seen = stored.study / "data", set()
    if not (data / "run.json").is_file():
        return
    for sample in each_sample(data, "val"):
        if sample.image not in seen and not sample.no_target:
            seen.add(sample.image)
            yield Donor(sample_image(data, sample), sample.text, Path(sample.image).name)
