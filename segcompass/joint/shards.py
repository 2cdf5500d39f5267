"""Rows of tensors on disk in shards, written as they come and mapped into memory when they are read.

`Rows` are the lengths that some tensors have a row each of, such as the tokens of an answer; a shard is written as soon as it is full, so
memory is bounded by one shard.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from segcompass.errors import damaged
from segcompass.numerics.finite import save_finite

SHARD_ROWS = 1024
"""Rows of a shard."""


class ShardWriter:
    """Fills a folder with `<kind>-00000.safetensors …`; a row is a value of every tensor, whose first dimension may vary."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        self.shards: list[dict[str, Any]] = []
        """What the index says of each shard: `file` and `rows`."""
        self._rows: list[dict[str, Tensor]] = []

    def __len__(self) -> int:
        return sum(shard["rows"] for shard in self.shards) + len(self._rows)

    def add(self, row: Mapping[str, Tensor]) -> None:
        """Adds one row, by name of its tensors; every row has the same names, and trailing dimensions of a name agree."""
        self._rows.append({name: value.detach().cpu() for name, value in row.items()})
        if len(self._rows) == SHARD_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes what has not been written."""
        if not self._rows:
            return
        tensors = {name: torch.cat([row[name] for row in self._rows]).contiguous() for name in self._rows[0]}
        for name in self._rows[0]:
            tensors[f"length.{name}"] = torch.tensor([len(row[name]) for row in self._rows], dtype=torch.int32)
        file = f"{self.kind}-{len(self.shards):05d}.safetensors"
        save_finite(tensors, self.folder / file)
        self.shards.append({"file": file, "rows": len(self._rows)})
        self._rows.clear()


class ShardReader:
    """Rows of shards that `ShardWriter` wrote, read one tensor of one row at a time."""

    def __init__(self, folder: Path, shards: list[dict[str, Any]]) -> None:
        """Raises a ValueError, OSError or SafetensorError where the shards are not whole."""
        self._ends = list(accumulate(int(shard["rows"]) for shard in shards))
        self._files = [safe_open(folder / shard["file"], "pt") for shard in shards]
        self._starts: list[dict[str, list[int]]] = []
        for file, shard in zip(self._files, shards, strict=True):
            names = [name.removeprefix("length.") for name in file.keys() if name.startswith("length.")]  # noqa: SIM118 - not a mapping
            starts = {name: [0, *accumulate(file.get_tensor(f"length.{name}").tolist())] for name in names}
            for name, places in starts.items():
                held = file.get_slice(name).get_shape()[0]
                if len(places) != shard["rows"] + 1 or places[-1] != held:
                    raise ValueError(
                        f"{shard['file']} holds {held} of {name} for {len(places) - 1} rows, not {places[-1]} for {shard['rows']}"
                    )
            self._starts.append(starts)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def row(self, row: int) -> dict[str, Tensor]:
        """All tensors of one row, by name, as `ShardWriter.add` was given them."""
        return {name: self.get(row, name) for name in self._starts[bisect_right(self._ends, row)]}

    def get(self, row: int, name: str) -> Tensor:
        """One tensor of one row."""
        shard = bisect_right(self._ends, row)
        place, starts = row - (self._ends[shard - 1] if shard else 0), self._starts[shard][name]
        return self._files[shard].get_slice(name)[starts[place] : starts[place + 1]]

    def starts(self, name: str) -> np.ndarray:
        """Where each row of a tensor begins if the rows of all shards are joined, and where the last one ends: int64 [rows + 1]."""
        lengths = [np.diff(starts[name]) for starts in self._starts]
        return np.concatenate([[0], np.cumsum(np.concatenate([[], *lengths]), dtype=np.int64)]).astype(np.int64)


def write_index(folder: Path, index: Mapping[str, Any]) -> None:
    """Writes the index of an artefact of shards."""
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def read_index(folder: Path) -> dict[str, Any]:
    """The index of an artefact of shards.

    Raises:
        InputError: it is missing or no JSON object.
    """
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if not isinstance(index, dict):
            raise ValueError("is no object")
    except (OSError, ValueError) as error:
        raise damaged(folder, "index.json", f"cannot be read ({error})") from error
    return index


def open_shards(folder: Path, index: Mapping[str, Any], kind: str) -> ShardReader:
    """The shards that an index lists under `kind`.

    Raises:
        InputError: they are not whole.
    """
    try:
        return ShardReader(folder, index[kind])
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise damaged(folder, f"the shards of {kind}", f"cannot be read ({error})") from error
