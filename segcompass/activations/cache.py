"""The token cache: hidden states of valid tokens in shards, with owner, position and token type.

Written and read as a stream: the writer holds one shard and one chunk, the reader one chunk, whatever the cache's size; besides, the reader
knows one flag of each owner and the names of the images. The release pads every sample to 1,400 tokens; here only valid tokens are kept.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from segcompass.activations.source import Tokens, TokenSource
from segcompass.errors import InputError, damaged
from segcompass.numerics.finite import save_finite, unfinite


class CacheWriter:
    """Collects chunks and writes full shards; `close` writes the rest, the owners and the index."""

    def __init__(self, folder: Path, hook_layer: int, width: int, dtype: str, shard_tokens: int) -> None:
        self.folder = folder
        self.index: dict[str, Any] = {"hook_layer": hook_layer, "width": width, "dtype": dtype, "tokens": 0, "shards": [], "chunks": []}
        self.shard = {
            "hidden": torch.empty(shard_tokens, width, dtype=getattr(torch, dtype)),
            "owner": torch.empty(shard_tokens, dtype=torch.int32),
            "position": torch.empty(shard_tokens, dtype=torch.int32),
            "token_type": torch.empty(shard_tokens, dtype=torch.uint8),
        }
        self.filled = 0
        self._owners = (folder / "owners.jsonl").open("w", encoding="utf-8")

    def add(self, tokens: Tokens, owners: Iterable[tuple[str, str]] = ()) -> None:
        """Adds a chunk: the tokens, at least one, of the owners that follow those of the chunk before.

        `owners` are (sample id, image) in the order of their numbers, where they are not known before; else `close` is given them all.
        """
        self._name(owners)
        count, taken = len(tokens["owner"]), 0
        while taken < count:
            part = min(count - taken, len(self.shard["owner"]) - self.filled)
            for name, value in tokens.items():
                self.shard[name][self.filled : self.filled + part] = value[taken : taken + part]
            self.filled, taken = self.filled + part, taken + part
            if self.filled == len(self.shard["owner"]):
                self._write()
        self.index["chunks"].append({"tokens": count, "owners": int(tokens["owner"].max()) + 1})
        self.index["tokens"] += count

    def close(self, owners: Iterable[tuple[str, str]] = ()) -> int:
        """Writes what is left and the index; `owners` are those that no chunk has named.

        Returns:
            Number of tokens in the cache.
        """
        if self.filled:
            self._write()
        self._name(owners)
        self._owners.close()
        (self.folder / "index.json").write_text(json.dumps(self.index), encoding="utf-8")
        return int(self.index["tokens"])

    def _name(self, owners: Iterable[tuple[str, str]]) -> None:
        for sample_id, image in owners:
            self._owners.write(json.dumps({"sample_id": sample_id, "image": image}) + "\n")

    def _write(self) -> None:
        name = f"shard-{len(self.index['shards']):05d}.safetensors"
        save_finite({key: value[: self.filled] for key, value in self.shard.items()}, self.folder / name)
        self.index["shards"].append({"file": name, "tokens": self.filled})
        self.filled = 0


class StoredChunks:
    """The chunks that lie in the folder of a cache, or of a shard of one, as they were added."""

    def __init__(self, folder: Path) -> None:
        """Raises an InputError where the index is missing or damaged."""
        self.folder = folder
        try:
            self.index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            self._ends = list(accumulate(chunk["tokens"] for chunk in self.index["chunks"]))
            self._shard_ends = list(accumulate(shard["tokens"] for shard in self.index["shards"]))
            self.hook_layer, self.width = int(self.index["hook_layer"]), int(self.index["width"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from error

    def __len__(self) -> int:
        return len(self._ends)

    def owners(self) -> Iterator[tuple[str, str]]:
        """(sample id, image) of each owner.

        Raises:
            InputError: the list is missing or damaged.
        """
        try:
            with (self.folder / "owners.jsonl").open(encoding="utf-8") as lines:
                for line in lines:
                    owner = json.loads(line)
                    yield owner["sample_id"], owner["image"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from error

    def tokens(self, number: int) -> Tokens:
        """All tokens of a chunk.

        Raises:
            InputError: a shard is missing or damaged.
        """
        start, end = self._ends[number - 1] if number else 0, self._ends[number]
        parts: list[dict[str, Tensor]] = []
        for shard in range(bisect_right(self._shard_ends, start), len(self._shard_ends)):
            held = self.index["shards"][shard]
            begin = self._shard_ends[shard] - held["tokens"]
            if begin >= end:
                break
            parts.append(self._slice(self.folder / held["file"], max(start - begin, 0), min(end - begin, held["tokens"])))
        # `cat` copies, so that no page of the shard's file stays mapped.
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _damaged(self, error: Exception) -> InputError:
        return damaged(self.folder, "index.json, owners.jsonl", f"are missing or damaged ({error})")

    def _slice(self, path: Path, start: int, end: int) -> dict[str, Tensor]:
        try:
            with safe_open(path, "pt") as file:
                tokens = {name: file.get_slice(name)[start:end] for name in ("hidden", "owner", "position", "token_type")}
        except (OSError, SafetensorError) as error:
            raise damaged(path.parent, path.name, f"is missing or damaged ({error})") from error
        if found := unfinite(tokens["hidden"]):
            (token, _), value = found
            where = f"token {int(tokens['position'][token])} of line {int(tokens['owner'][token]) + 1} of owners.jsonl"
            raise damaged(path.parent, path.name, f"holds {value}, a hidden state of layer {self.hook_layer} at {where}")
        return tokens


class CacheReader(TokenSource):
    """Reads a cache by chunks."""

    def __init__(self, folder: Path, held_out_fraction: float, seed: int) -> None:
        self._stored, names = StoredChunks(folder), dict[str, str]()
        images = [names.setdefault(image, image) for _, image in self._stored.owners()]
        super().__init__(self._stored.hook_layer, self._stored.width, images, held_out_fraction, seed)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return len(self._stored)

    def owners(self, number: int) -> slice:
        """See `TokenSource.owners`."""
        ends = self._stored.index["chunks"]
        return slice(ends[number - 1]["owners"] if number else 0, ends[number]["owners"])

    def tokens(self, number: int) -> Tokens:
        """See `TokenSource.tokens` and `StoredChunks.tokens`."""
        return self._stored.tokens(number)
