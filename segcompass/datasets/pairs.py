"""Which samples of the two pictures of a counterfactual pair belong together: `pairs/<split>.jsonl` of the data artefact.

`segcompass/world/counterfactual.py` says how the pairs are made and what each kind is for.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from segcompass.datasets.artefact import manifest
from segcompass.datasets.samples import Sample, read_samples
from segcompass.errors import InputError

Kind = Literal["cause", "isolation", "presence", "contrast"]
EXCHANGED: dict[str, tuple[Kind, ...]] = {"val": ("contrast", "cause"), "test": ("cause", "isolation")}
"""Split -> the kinds whose codes are exchanged there: concepts are found and chosen on val, and tested on test."""


@dataclass(frozen=True)
class Side:
    """One picture of a pair, and what is asked about it."""

    scene_id: int
    """Line of `scenes/counterfactual_<split>.jsonl`."""
    image: str
    """Path below the data root."""
    sample_id: str
    """The sample that is run and edited."""
    targets: tuple[int, ...]
    """Object ids of its target; none where it fits nothing."""
    expected_sample_id: str
    """A sample of the same picture that asks for what must be segmented after the exchange: unedited, it shows how well that can be."""
    expected_targets: tuple[int, ...]
    """Object ids of that target: those of the other side's sample."""


@dataclass(frozen=True)
class CounterfactualPair:
    """Two runs whose codes may be exchanged."""

    pair: str
    """Name of the pair of pictures, which several rows share: what intervals resample."""
    benchmark: str
    """Whose manifest holds the samples."""
    attribute: str
    kind: Kind
    values: tuple[str, str]
    """The attribute's value that the edited object has in either picture."""
    edited: int
    """Object id of the edited object, the same in both pictures."""
    sides: tuple[Side, Side]


def pairs_file(artefact: Path, split: str) -> Path:
    """The pairs of a split, one a line."""
    return artefact / "pairs" / f"{split}.jsonl"


def pair_row(pair: CounterfactualPair) -> dict[str, Any]:
    """The pair as it is written."""
    return asdict(pair)


def read_pairs(artefact: Path, split: str) -> list[CounterfactualPair]:
    """All pairs of a split.

    Raises:
        InputError: the artefact has none, or a line is no pair.
    """
    path = pairs_file(artefact, split)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        advice = "is missing; photographs have no counterfactual pairs, an embedded world has those of `data.counterfactuals`"
        raise InputError(path, "", advice) from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(_pair(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(path, f"line {number}", f"is no counterfactual pair ({error}); run prepare_data again") from error
    return found


def exchanged_pairs(artefact: Path, split: str, count: int) -> list[CounterfactualPair]:
    """The rows of `EXCHANGED` kinds of the first `count` pairs of each attribute, in the order of the file.

    Raises:
        InputError: see `read_pairs`.
    """
    seen: dict[str, dict[str, None]] = {}
    found = []
    for row in read_pairs(artefact, split):
        names = seen.setdefault(row.attribute, {})
        if len(names) < count:
            names.setdefault(row.pair)
        if row.pair in names and row.kind in EXCHANGED[split]:
            found.append(row)
    return found


def paired_samples(artefact: Path, counts: Mapping[str, int]) -> Iterator[tuple[str, str, Sample]]:
    """(benchmark, split, sample) of every sample that `exchanged_pairs` name, in the order of the manifests.

    Args:
        artefact: that of `prepare_data`.
        counts: split -> pairs of each attribute.

    Raises:
        InputError: the artefact has no pairs, or a file of theirs is damaged.
    """
    for split, count in counts.items():
        named: dict[str, set[str]] = {}
        for row in exchanged_pairs(artefact, split, count):
            of_sides = {name for side in row.sides for name in (side.sample_id, side.expected_sample_id)}
            named.setdefault(row.benchmark, set()).update(of_sides)
        for benchmark, ids in named.items():
            samples = read_samples(manifest(artefact, benchmark, split))
            yield from ((benchmark, split, sample) for sample in samples if sample.sample_id in ids)


def _pair(raw: dict[str, Any]) -> CounterfactualPair:
    first, second = (_side(side) for side in raw["sides"])
    return CounterfactualPair(**(raw | {"values": tuple(raw["values"]), "sides": (first, second)}))


def _side(raw: dict[str, Any]) -> Side:
    return Side(**(raw | {key: tuple(raw[key]) for key in ("targets", "expected_targets")}))
