"""The one sample schema, what makes a text a sample's, and its file of JSON lines."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from segcompass.datasets.masks import Rle
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


class SampleIds:
    """The ids that the loader of a split has given: every one of them once."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def add(self, sample_id: str, source: Path, field: str, place: str) -> str:
        """The id, which is new.

        Args:
            sample_id: made of what stands in `source` at `field`.
            source: annotation file.
            field: where in it.
            place: what the first holder of an id is called where a second one is refused.

        Raises:
            InputError: it was given before.
        """
        if sample_id in self._first:
            problem = f"makes the sample id `{sample_id}`, which {self._first[sample_id]} has already; give one of them another number"
            raise InputError(source, field, problem)
        self._first[sample_id] = place
        return sample_id


def checked_text(text: object, source: Path | None, field: str) -> str:
    """An expression's text.

    Raises:
        InputError: not text, empty, too long, or with halves of surrogate pairs, which no file and no tokenizer takes.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError(source, field, "is not a text; write one")
    if len(text) > LONGEST_TEXT:
        raise InputError(source, field, f"has {len(text)} characters, more than {LONGEST_TEXT}; shorten it")
    if any(0xD800 <= ord(letter) < 0xE000 for letter in text):
        raise InputError(source, field, "is not valid Unicode; write it in UTF-8")
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
        raise InputError(
            path,
            "",
            "is missing; name a split that the data root has, or run the stage prepare_data",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"line {number}", f"is no sample ({error}); write the file again") from error
