"""What the evaluation of a split leaves on disk: records, COCO files, the first heat maps; and the same gathered from shards.

A shard evaluates a run of batches, counted through all splits, and leaves of each split that it touches the files that the whole would
leave of these samples alone; of their heat maps at least those that the whole keeps, since it sees no image before its own.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from segcompass.datasets.artefact import manifest
from segcompass.datasets.masks import Rle
from segcompass.datasets.samples import Sample, read_samples
from segcompass.errors import damaged
from segcompass.joint.scores import Row
from segcompass.protocols.coco_results import write_predictions, write_truth
from segcompass.protocols.records import write_records
from segcompass.study.analysis import KEPT_HEAT_MAPS
from segcompass.study.shards import Shard

Splits = Mapping[str, Sequence[str]]
"""Benchmark -> its evaluated splits."""


class SplitFiles:
    """The samples of one split, or of a shard's part of it, with what is written of each."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._rows: list[Row] = []
        self._masks: list[Rle] = []
        self._heat: dict[str, np.ndarray] = {}
        self._seen: dict[int, set[str]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, sample: Sample, row: Row, mask: Rle, heat: Callable[[], np.ndarray]) -> None:
        """Adds a sample; its heat map, float16 [m, m], is asked for only if it is kept."""
        self._samples.append(sample)
        self._rows.append(row)
        self._masks.append(mask)
        if is_kept(self._seen, sample.image, len(sample.instances)):
            self._heat[sample.sample_id] = heat()

    def write(self, folder: Path) -> None:
        """Fills a new folder."""
        folder.mkdir(parents=True)
        write_records(self._rows, folder / "records.csv")
        write_truth(self._samples, folder / "manifest_coco.json")
        scores = [max(float(value) for value in str(row["confidences"]).split()) for row in self._rows]
        write_predictions(self._samples, self._masks, scores, folder / "predictions.json")
        np.savez(folder / "heatmaps.npz", **self._heat)  # type: ignore[arg-type]


def shares(data: Path, splits: Splits, batch: int, shard: Shard) -> Iterator[tuple[str, str, list[Sample]]]:
    """Benchmark, split and samples of a shard's share, whole batches, of every split that it has a share of.

    Args:
        data: artefact of prepare_data.
        splits: in their order, through which batches are counted.
        batch: samples of a batch, of which each split's last one may have fewer.
        shard: the one whose share is asked for; of the whole, every split has one.
    """
    places = [(benchmark, split) for benchmark, names in splits.items() for split in names]
    counts = [-(-sum(1 for _ in read_samples(manifest(data, *place))) // batch) for place in places]
    own, before = shard.part(sum(counts)), 0
    for place, count in zip(places, counts, strict=True):
        first, last = max(own.start - before, 0), min(own.stop - before, count)
        before += count
        if first < last or shard.of == 1:
            yield *place, list(read_samples(manifest(data, *place)))[first * batch : last * batch]


def gather(shards: Sequence[Path], data: Path, splits: Splits, folder: Path) -> Iterator[tuple[str, int]]:
    """Writes the files of every split from those of the shards, which lie in their order.

    Yields:
        `<benchmark>/<split>` and its number of records.

    Raises:
        InputError: a shard's files are damaged, or all of them together are not those of the data's samples.
    """
    for benchmark, names in splits.items():
        for split in names:
            files, parts = SplitFiles(), [shard / benchmark / split for shard in shards]
            samples = read_samples(manifest(data, benchmark, split))
            for part in filter(Path.is_dir, parts):
                _add_part(files, samples, part)
            if next(samples, None) is not None:
                raise damaged(shards[-1], f"{benchmark}/{split}", "lacks samples of the manifest, as do the shards before it")
            files.write(folder / benchmark / split)
            yield f"{benchmark}/{split}", len(files)


def _add_part(files: SplitFiles, samples: Iterator[Sample], part: Path) -> None:
    """Adds a shard's part of a split, whose samples are the next ones."""
    try:
        predictions = json.loads((part / "predictions.json").read_text(encoding="utf-8"))
        rows: Any = pd.read_csv(part / "records.csv", dtype=str, keep_default_na=False).to_dict("records")
        with np.load(part / "heatmaps.npz") as heat:
            for row, prediction in zip(rows, predictions, strict=True):
                sample = next(samples)
                if sample.sample_id != row["sample_id"]:
                    raise ValueError(f"holds {row['sample_id']} where {sample.sample_id} is next")
                files.add(sample, row, prediction["segmentation"], partial(heat.__getitem__, sample.sample_id))
    except (OSError, ValueError, TypeError, KeyError, StopIteration) as error:
        raise damaged(part, "records.csv, predictions.json, heatmaps.npz", f"are no part of the split ({error})") from error


def is_kept(seen: dict[int, set[str]], image: str, targets: int) -> bool:
    """Whether a sample's heat map is kept: that of the first sample of an image that has no target, one, or several, of few images each.

    Args:
        seen: min(2, targets) -> images of which one was kept; the image is added to it.
        image: of the sample.
        targets: how many it has.
    """
    images = seen.setdefault(min(2, targets), set())
    if image in images or len(images) == KEPT_HEAT_MAPS:
        return False
    images.add(image)
    return True
