"""Scores a file of predictions against a file of samples, in any order, with memory that does not grow with the masks.

Samples are read as a stream. Predictions are indexed by `sample_id` in a temporary SQLite file that holds byte offsets, so only a batch of
masks is in memory at a time; what remains per expression is a row of numbers.
"""

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from segcompass.datasets.images import MOST_PIXELS
from segcompass.datasets.masks import areas, checked_rle
from segcompass.errors import InputError
from segcompass.protocols.json_lines import STANDARD_INPUT, JsonLines
from segcompass.protocols.scoring import score_sample

BATCH = 128
"""Samples whose masks are checked, and held in memory, at once."""


@dataclass(frozen=True)
class Truth:
    """A line of a samples file, as far as scoring reads it; masks are unchecked."""

    line: int
    sample_id: str
    image: str
    height: int
    width: int
    no_target: bool
    target: Any
    ignore: Any


@dataclass(frozen=True)
class Prediction:
    """A line of a predictions file; the mask is unchecked."""

    line: int
    mask: Any
    no_target: bool


def score_files(samples: Path, predictions: Path, protocol: str, missing_is_empty: bool) -> dict[str, np.ndarray]:
    """Scores of every sample, in the order of the samples file.

    Args:
        samples: JSON lines of `segcompass samples`; `-` for standard input.
        predictions: JSON lines `{"sample_id", "segmentation": RLE or null, "no_target": bool}`; `-` for standard input.
        protocol: a name of `scoring.PROTOCOLS`.
        missing_is_empty: count absent predictions as empty ones that decide nothing, instead of refusing.

    Returns:
        Columns `intersection, union, iou, truth_area, predicted_area, no_target, predicted_no_target` and `image`, [n] each.

    Raises:
        InputError: a line is damaged, an id is missing, doubled or unknown, or sizes differ; names line and field.
    """
    if samples == predictions == STANDARD_INPUT:
        raise InputError(None, "--samples, --predictions", "are both `-`; only one of them can be standard input")
    with tempfile.TemporaryDirectory() as folder:
        return _score(JsonLines.at(samples), JsonLines.at(predictions).seekable(Path(folder)), protocol, missing_is_empty, Path(folder))


def _score(samples: JsonLines, predictions: JsonLines, protocol: str, missing_is_empty: bool, folder: Path) -> dict[str, np.ndarray]:
    with _Index(folder / "predictions.sqlite", predictions) as index:
        rows: list[tuple[float, ...]] = []
        images: dict[str, int] = {}
        clusters: list[int] = []
        truths = _truths(samples)
        while batch := list(islice(truths, BATCH)):
            given = [index.take(truth, samples) for truth in batch]
            if not missing_is_empty and None in given:
                name = batch[given.index(None)].sample_id
                problem = f"has no prediction for `{name}`; add it, or count it as empty with --missing empty"
                raise InputError(predictions.name, "sample_id", problem)
            _check_masks(samples, predictions, batch, given)
            for truth, prediction in zip(batch, given, strict=True):
                mask, rejected = (prediction.mask, prediction.no_target) if prediction else (None, False)
                score = score_sample(protocol, truth.target, truth.ignore, truth.no_target, mask, rejected)
                areas_and_decisions = (score.truth_area, score.predicted_area, score.no_target, score.predicted_no_target)
                rows.append((score.intersection, score.union, score.iou, *areas_and_decisions))
                clusters.append(images.setdefault(truth.image, len(images)))
        index.refuse_unknown()
    if not rows:
        raise InputError(samples.name, "", "holds no sample; write it with `segcompass samples`")
    names = ("intersection", "union", "iou", "truth_area", "predicted_area", "no_target", "predicted_no_target")
    table = np.array(rows, dtype=float)
    return {name: table[:, column] for column, name in enumerate(names)} | {"image": np.array(clusters)}


def _check_masks(samples: JsonLines, predictions: JsonLines, truths: list[Truth], given: Sequence[Prediction | None]) -> None:
    """Checks every mask of a batch at once; only if one is faulty, or not compressed, one by one."""
    entries = [(samples, truth.line, name, truth, getattr(truth, name)) for truth in truths for name in ("target", "ignore")]
    entries += [(predictions, made.line, "segmentation", truth, made.mask) for truth, made in zip(truths, given, strict=True) if made]
    masks = [entry for entry in entries if entry[4] is not None or entry[2] == "target"]
    plain = all(
        type(mask) is dict and mask.get("size") == [truth.height, truth.width] and type(mask.get("counts")) is str
        for *_, truth, mask in masks
    )
    if plain and areas([mask["counts"] for *_, mask in masks], [truth.height * truth.width for *_, truth, _ in masks]) is not None:
        return
    for file, line, name, truth, mask in masks:
        try:
            checked = checked_rle(mask, truth.height, truth.width)
            mask.update(checked)  # compresses uncompressed counts
        except ValueError as error:
            raise InputError(file.name, f"line {line}: {name}", f"is no RLE of this image: {error}; write it again") from error


def _truths(samples: JsonLines) -> Iterator[Truth]:
    """Samples of a file, checked line by line but for their masks."""
    for number, _, raw in samples.objects():
        height, width = (samples.field(number, raw, name, int) for name in ("height", "width"))
        if not (height > 0 and width > 0 and height * width <= MOST_PIXELS):
            problem = f"are not sides of an image of at most {MOST_PIXELS} pixels; correct them"
            raise InputError(samples.name, f"line {number}: height, width", problem)
        no_target = samples.field(number, raw, "no_target", bool)
        sample_id, image = (samples.field(number, raw, name, str) for name in ("sample_id", "image"))
        yield Truth(number, sample_id, image, height, width, no_target, raw.get("target"), raw.get("ignore"))


class _Index:
    """Byte offsets of predictions by sample id, on disk."""

    def __init__(self, path: Path, predictions: JsonLines) -> None:
        self.predictions = predictions
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("PRAGMA synchronous = OFF")
        self.database.execute("PRAGMA journal_mode = OFF")
        self.database.execute("CREATE TABLE entry (id TEXT PRIMARY KEY, line INTEGER, place INTEGER, sample INTEGER) WITHOUT ROWID")

    def __enter__(self) -> "_Index":
        self.database.execute("BEGIN")
        for number, place, raw in self.predictions.objects():
            name = self.predictions.field(number, raw, "sample_id", str)
            try:
                self.database.execute("INSERT INTO entry VALUES (?, ?, ?, NULL)", (name, number, place))
            except sqlite3.IntegrityError:
                (first,) = self.database.execute("SELECT line FROM entry WHERE id = ?", (name,)).fetchone()
                problem = f"`{name}` has a prediction on line {first} already; keep one"
                raise InputError(self.predictions.name, f"line {number}: sample_id", problem) from None
            except UnicodeEncodeError:
                raise InputError(self.predictions.name, f"line {number}: sample_id", "is not valid text; write the file again") from None
        self.file = self.predictions.open()
        return self

    def __exit__(self, *reason: object) -> None:
        if hasattr(self, "file"):
            self.file.close()
        self.database.close()

    def take(self, truth: Truth, samples: JsonLines) -> Prediction | None:
        """A sample's prediction; None where there is none."""
        found = self.database.execute("SELECT line, place, sample FROM entry WHERE id = ?", (truth.sample_id,)).fetchone()
        if found is None:
            self.database.execute("INSERT INTO entry VALUES (?, NULL, NULL, ?)", (truth.sample_id, truth.line))
            return None
        line, place, sample = found
        if sample is not None:
            raise InputError(
                samples.name, f"line {truth.line}: sample_id", f"`{truth.sample_id}` stands on line {sample} already; keep one"
            )
        self.database.execute("UPDATE entry SET sample = ? WHERE id = ?", (truth.line, truth.sample_id))
        self.file.seek(place)
        raw = self.predictions.object(line, self.file.readline())
        no_target = self.predictions.field(line, raw, "no_target", bool)
        if "segmentation" not in raw:
            raise InputError(self.predictions.name, f"line {line}: segmentation", "is missing; give an RLE, or null for an empty mask")
        return Prediction(line, raw["segmentation"], no_target)

    def refuse_unknown(self) -> None:
        """Refuses predictions that belong to no sample."""
        found = self.database.execute("SELECT line, id FROM entry WHERE sample IS NULL ORDER BY line LIMIT 1").fetchone()
        if found:
            raise InputError(
                self.predictions.name, f"line {found[0]}: sample_id", f"`{found[1][:80]}` is not in the samples file; remove it"
            )
