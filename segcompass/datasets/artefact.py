"""What later stages take from the artefact of `prepare_data`: where images lie, the manifests, and the gold thoughts."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segcompass.datasets.images import read_image
from segcompass.datasets.samples import Sample, read_samples
from segcompass.datasets.splits import BENCHMARKS

ROOT_FILE = "root.txt"
"""Names a data root outside the artefact; without it the root lies in the artefact."""


def data_root(artefact: Path) -> Path:
    """The folder below which samples name their images."""
    named = artefact / ROOT_FILE
    return Path(named.read_text(encoding="utf-8").strip()) if named.is_file() else artefact / "root"


def sample_image(artefact: Path, sample: Sample) -> np.ndarray:
    """A sample's picture as its masks lie on it, uint8 [height, width, 3]."""
    return read_image(data_root(artefact) / sample.image, (sample.height, sample.width))


def manifest(artefact: Path, benchmark: str, split: str) -> Path:
    """The manifest of a split, one sample a line."""
    return artefact / "manifests" / benchmark / f"{split}.jsonl"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Rows of one of the artefact's JSON-lines files."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def gold_thoughts(artefact: Path, split: str) -> dict[str, str]:
    """Gold thoughts of a split by sample id; empty where the data has none (benchmarks of photographs)."""
    path = artefact / "supervision" / f"{split}.jsonl"
    return {row["sample_id"]: row["thought"] for row in read_lines(path)} if path.is_file() else {}


def evaluated_samples(artefact: Path, splits: Mapping[str, list[str]]) -> Iterator[tuple[str, str, Sample]]:
    """(benchmark, split, sample) of every sample of some splits, in the order of the manifests."""
    for benchmark, names in splits.items():
        for split in names:
            yield from ((benchmark, split, sample) for sample in read_samples(manifest(artefact, benchmark, split)))


class LearningData:
    """The splits that training may see: it learns from `train` and is watched on `val`; any other is refused.

    Joint training is given this in place of the artefact's folder, so none of its parts can open a test split.
    """

    SPLITS = ("train", "val")

    def __init__(self, artefact: Path) -> None:
        self._artefact = artefact

    def samples(self, benchmark: str, split: str) -> list[Sample]:
        """Samples of one split of a benchmark."""
        return list(read_samples(manifest(self._artefact, benchmark, self._allowed(split))))

    def gold_thoughts(self, split: str) -> dict[str, str]:
        """See the function of this name."""
        return gold_thoughts(self._artefact, self._allowed(split))

    def image(self, sample: Sample) -> np.ndarray:
        """uint8 [height, width, 3]."""
        return sample_image(self._artefact, sample)

    def _allowed(self, split: str) -> str:
        if split not in self.SPLITS:
            raise ValueError(f"training may not see the split {split}, only {' and '.join(self.SPLITS)}")
        return split


def each_sample(artefact: Path, split: str) -> Iterator[Sample]:
    """Samples of a split of every benchmark that has it but ReasonSeg, which stays zero-shot; one at a time."""
    paths = [manifest(artefact, benchmark, split) for benchmark in BENCHMARKS if benchmark != "reasonseg"]
    return (sample for path in paths if path.is_file() for sample in read_samples(path))


def split_samples(artefact: Path, split: str) -> list[Sample]:
    """All that `each_sample` gives."""
    return list(each_sample(artefact, split))


def training_samples(artefact: Path) -> list[Sample]:
    """Samples of every train split but ReasonSeg's."""
    return split_samples(artefact, "train")
