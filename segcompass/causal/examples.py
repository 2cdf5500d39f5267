"""Examples of swaps, to be looked at: what an exchange of an attribute's concepts, and of its control's, makes of the first pairs' masks.

`examples.json` of an exchange: `{"features": F, "examples": [one object an example, the fields of `SwapExample`]}`. Their place among the
pairs' file alone says which pairs they are, so failures stand there too, and their masks are those that are measured.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segcompass.datasets.masks import Rle
from segcompass.errors import damaged

FILE = "examples.json"
ARMS = ("attribute", "matched")
"""The exchanges that are kept: `swap.py` says what they are."""


@dataclass(frozen=True)
class SwapExample:
    """One pair of kind `cause`."""

    pair: str
    attribute: str
    benchmark: str
    split: str
    values: tuple[str, str]
    """The attribute's value that the edited sample names, and the one that the giving sample names."""
    edited: str
    """The sample whose codes are edited."""
    giving: str
    """The sample that the concepts come from."""
    expected: str
    """A sample of the edited one's picture that asks for what the giving one names: its target is where the mask should go."""
    before: Rle
    """The edited sample's mask before any exchange."""
    after: dict[str, Rle]
    """Arm -> mask of the same slots."""
    concepts: dict[str, list[int]]
    """Arm -> the concepts whose codes the exchange changes in this pair, those that weigh most first."""


def write_examples(examples: Sequence[SwapExample], features: int, folder: Path) -> None:
    """Writes `examples.json`; `features` is the number of the dictionary's concepts."""
    text = json.dumps({"features": features, "examples": [asdict(one) for one in examples]}, indent=1)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read_examples(folder: Path) -> tuple[list[SwapExample], int]:
    """The examples of a run and the number of its dictionary's concepts; none of a run that exchanges nothing between pairs.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return [], 0
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return [SwapExample(**row | {"values": tuple(row["values"])}) for row in raw["examples"]], int(raw["features"])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(folder, FILE, f"holds no examples of swaps ({error})") from error
