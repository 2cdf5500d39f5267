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
import orjson

from segcompass.datasets.images import MOST_PIXELS
from segcompass.datasets.masks import areas, checked_rle
from segcompass.errors import InputError
from segcompass.protocols.scoring import score_sample

BATCH = 128
"""Samples whose masks are checked, and held in memory, at once."""
LONGEST_LINE = 64 << 20
"""Bytes; a longer line is refused before it is parsed."""


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
        samples: JSON lines of `segcompass samples`.
        predictions: JSON lines `{"sample_id", "segmentation": RLE or null, "no_target": bool}`.
        protocol: a name of `scoring.PROTOCOLS`.
        missing_is_empty: count absent predictions as empty ones that decide nothing, instead of refusing.

    Returns:
        Columns `intersection, union, iou, truth_area, predicted_area, no_target, predicted_no_target` and `image`, [n] each.

    Raises:
        InputError: a line is damaged, an id is missing, doubled or unknown, or sizes differ; names line and field.
    """
    with tempfile.TemporaryDirectory() as folder, _Index(Path(folder) / "predictions.sqlite", predictions) as index:
        rows: list[tuple[float, ...]] = []
        images: dict[str, int] = {}
        clusters: list[int] = []
        truths = read_truths(samples)
        while batch := list(islice(truths, BATCH)):
            given = [index.take(truth, samples) for truth in batch]
            if not missing_is_empty and None in given:
                name = batch[given.index(None)].sample_id
                raise InputError(
                    predictions, "sample_id", f"has no prediction for `{name}`; add it, or count it as empty with --missing empty"
                )
            _check_masks(samples, predictions, batch, given)
            for truth, prediction in zip(batch, given, strict=True):
                mask, rejected = (prediction.mask, prediction.no_target) if prediction else (None, False)
                score = score_sample(protocol, truth.target, truth.ignore, truth.no_target, mask, rejected)
                areas_and_decisions = (score.truth_area, score.predicted_area, score.no_target, score.predicted_no_target)
                rows.append((score.intersection, score.union, score.iou, *areas_and_decisions))
                clusters.append(images.setdefault(truth.image, len(images)))
        index.refuse_unknown()
    if not rows:
        raise InputError(samples, "", "holds no sample; write it with `segcompass samples`")
    names = ("intersection", "union", "iou", "truth_area", "predicted_area", "no_target", "predicted_no_target")
    table = np.array(rows, dtype=float)
    return {name: table[:, column] for column, name in enumerate(names)} | {"image": np.array(clusters)}


def _check_masks(samples: Path, predictions: Path, truths: list[Truth], given: Sequence[Prediction | None]) -> None:
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
    for path, line, name, truth, mask in masks:
        try:
            checked = checked_rle(mask, truth.height, truth.width)
            mask.update(checked)  # compresses uncompressed counts
        except ValueError as error:
            raise InputError(path, f"line {line}: {name}", f"is no RLE of this image: {error}; write it again") from error


def read_truths(path: Path) -> Iterator[Truth]:
    """Samples of a file, checked line by line but for their masks.

    Raises:
        InputError: names the line and the field at fault.
    """
    for number, _, raw in _lines(path):
        height, width = (_field(path, number, raw, name, int) for name in ("height", "width"))
        if not (height > 0 and width > 0 and height * width <= MOST_PIXELS):
            raise InputError(
                path, f"line {number}: height, width", f"are not sides of an image of at most {MOST_PIXELS} pixels; correct them"
            )
        no_target = _field(path, number, raw, "no_target", bool)
        sample_id, image = (_field(path, number, raw, name, str) for name in ("sample_id", "image"))
        yield Truth(number, sample_id, image, height, width, no_target, raw.get("target"), raw.get("ignore"))


class _Index:
    """Byte offsets of predictions by sample id, on disk."""

    def __init__(self, path: Path, predictions: Path) -> None:
        self.predictions = predictions
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("PRAGMA synchronous = OFF")
        self.database.execute("PRAGMA journal_mode = OFF")
        self.database.execute("CREATE TABLE entry (id TEXT PRIMARY KEY, line INTEGER, place INTEGER, sample INTEGER) WITHOUT ROWID")

    def __enter__(self) -> "_Index":
        self.database.execute("BEGIN")
        for number, place, raw in _lines(self.predictions):
            name = _field(self.predictions, number, raw, "sample_id", str)
            try:
                self.database.execute("INSERT INTO entry VALUES (?, ?, ?, NULL)", (name, number, place))
            except sqlite3.IntegrityError:
                (first,) = self.database.execute("SELECT line FROM entry WHERE id = ?", (name,)).fetchone()
                problem = f"`{name}` has a prediction on line {first} already; keep one"
                raise InputError(self.predictions, f"line {number}: sample_id", problem) from None
            except UnicodeEncodeError:
                raise InputError(self.predictions, f"line {number}: sample_id", "is not valid text; write the file again") from None
        self.file = self.predictions.open("rb")
        return self

    def __exit__(self, *reason: object) -> None:
        if hasattr(self, "file"):
            self.file.close()
        self.database.close()

    def take(self, truth: Truth, samples: Path) -> Prediction | None:
        """A sample's prediction; None where there is none."""
        found = self.database.execute("SELECT line, place, sample FROM entry WHERE id = ?", (truth.sample_id,)).fetchone()
        if found is None:
            self.database.execute("INSERT INTO entry VALUES (?, NULL, NULL, ?)", (truth.sample_id, truth.line))
            return None
        line, place, sample = found
        if sample is not None:
            raise InputError(samples, f"line {truth.line}: sample_id", f"`{truth.sample_id}` stands on line {sample} already; keep one")
        self.database.execute("UPDATE entry SET sample = ? WHERE id = ?", (truth.line, truth.sample_id))
        self.file.seek(place)
        raw = orjson.loads(self.file.readline())
        no_target = _field(self.predictions, line, raw, "no_target", bool)
        if "segmentation" not in raw:
            raise InputError(self.predictions, f"line {line}: segmentation", "is missing; give an RLE, or null for an empty mask")
        return Prediction(line, raw["segmentation"], no_target)

    def refuse_unknown(self) -> None:
        """Refuses predictions that belong to no sample."""
        found = self.database.execute("SELECT line, id FROM entry WHERE sample IS NULL ORDER BY line LIMIT 1").fetchone()
        if found:
            raise InputError(self.predictions, f"line {found[0]}: sample_id", f"`{found[1][:80]}` is not in the samples file; remove it")


def _lines(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(line number, byte offset, object) of a file of JSON lines; blank lines are skipped."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error.strerror}); name a file of JSON lines") from error
    with file:
        place = number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise InputError(path, f"line {number}", f"is longer than {LONGEST_LINE} bytes; write one object a line")
            if line.strip():
                yield number, place, _object(path, number, line)
            place += len(line)


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        raw = orjson.loads(line)
    except ValueError as error:
        raise InputError(path, f"line {number}", f"is not JSON ({str(error)[:100]}); write one object a line") from error
    if not isinstance(raw, dict):
        raise InputError(path, f"line {number}", "is not a JSON object; write one object a line")
    return raw


def _field(path: Path, number: int, raw: dict[str, Any], name: str, kind: type) -> Any:
    value = raw.get(name)
    if type(value) is not kind:
        words = {int: "a whole number", bool: "true or false", str: "a text"}
        raise InputError(path, f"line {number}: {name}", f"is {'missing' if name not in raw else 'not ' + words[kind]}; correct the line")
    return value
