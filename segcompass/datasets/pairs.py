"""Which samples of the two pictures of a counterfactual pair belong together: `pairs/<split>.jsonl` of the data artefact.

`segcompass/world/counterfactual.py` says how the pairs are made and what each kind is for.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from segcompass.errors import InputError

Kind = Literal["cause", "isolation", "presence", "contrast"]


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


def _pair(raw: dict[str, Any]) -> CounterfactualPair:
    first, second = (_side(side) for side in raw["sides"])
    return CounterfactualPair(**(raw | {"values": tuple(raw["values"]), "sides": (first, second)}))


def _side(raw: dict[str, Any]) -> Side:
    return Side(**(raw | {key: tuple(raw[key]) for key in ("targets", "expected_targets")}))
