"""The one sample schema, and the door to the five benchmarks: `load_samples`."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from segcompass.datasets.masks import Rle
from segcompass.datasets.splits import BENCHMARKS, COUNTERFACTUALS
from segcompass.errors import InputError

LONGEST_TEXT = 10_000
"""Characters; a longer expression is a fault of the file."""


@dataclass(frozen=True)
class Sample:
    """One expression of one image."""

    sample_id: str
    image: str
    """Path below the data root."""
    height: int
    width: int
    text: str
    no_target: bool
    target: Rle
    """Union of the instances; empty where there is no target."""
    ignore: Rle | None
    instances: tuple[Rle, ...]


def load_samples(root: Path, benchmark: str, split: str, split_by: str | None = None, per_ref: bool = False) -> Iterator[Sample]:
    """Samples of a benchmark's split in the order of its files.

    Args:
        root: data root with the layouts of docs/data.md.
        benchmark: refcoco, refcoco+, refcocog, grefcoco, reasonseg, or one of `COUNTERFACTUALS`.
        split: a split of that benchmark.
        split_by: unc, google or umd for the refer family; None takes the usual one.
        per_ref: one sample a ref (its first sentence) instead of one a sentence.

    Raises:
        InputError: a file is missing or breaks its format.
    """
    from segcompass.datasets import grefcoco, reasonseg, refer

    if benchmark in refer.SPLIT_BY:
        return refer.samples(root, benchmark, split, split_by, per_ref)
    if benchmark == "grefcoco" or benchmark in COUNTERFACTUALS.values():
        return grefcoco.samples(root, benchmark, split, per_ref)
    if benchmark == "reasonseg":
        return reasonseg.samples(root, split)
    raise InputError(None, "--benchmark", f"`{benchmark}` is none of {', '.join((*BENCHMARKS, *COUNTERFACTUALS.values()))}")


def checked_text(text: object, source: Path, field: str) -> str:
    """An expression's text.

    Raises:
        InputError: not text, empty, or too long.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError(source, field, "is not a text; download the annotations again")
    if len(text) > LONGEST_TEXT:
        raise InputError(source, field, f"has {len(text)} characters, more than {LONGEST_TEXT}; shorten it")
    return text


def write_samples(samples: Iterable[Sample], path: Path) -> int:
    """Writes one JSON object a line.

    Returns:
        Number of samples.
    """
    count = 0
    with path.open("w", encoding="utf-8") as lines:
        for sample in samples:
            lines.write(json.dumps(asdict(sample)) + "\n")
            count += 1
    return count


def read_samples(path: Path) -> Iterator[Sample]:
    """Samples that `write_samples` wrote.

    Raises:
        InputError: a line is no sample; the message gives its number.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007 - the fault names the line
                raw = json.loads(line)
                yield Sample(**{**raw, "instances": tuple(raw["instances"])})
    except FileNotFoundError as error:
        raise InputError(path, "", "is missing; run the stage prepare_data or `segcompass samples`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"line {number}", f"is no sample ({error}); write the file again") from error
