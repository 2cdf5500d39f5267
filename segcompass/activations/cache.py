"""The token cache: hidden states of valid tokens in shards, with owner, position and token type.

Written and read as a stream: the writer holds one shard, the reader one shard and its shuffle buffer, whatever the cache's size.
The release pads every sample to 1,400 tokens; here only valid tokens are kept.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from segcompass.errors import InputError


class CacheWriter:
    """Collects tokens and writes full shards; `close` writes the rest and the index."""

    def __init__(self, folder: Path, hook_layer: int, width: int, dtype: str, shard_tokens: int) -> None:
        self.folder, self.dtype, self.shard_tokens = folder, dtype, shard_tokens
        self.index: dict[str, Any] = {"hook_layer": hook_layer, "width": width, "dtype": dtype, "tokens": 0, "shards": [], "owners": []}
        self.waiting: list[dict[str, Tensor]] = []

    def add(self, sample_id: str, image: str, hidden: Tensor, positions: Tensor, token_types: Tensor) -> None:
        """Adds one owner's tokens: hidden [n, d], positions [n], token types [n]."""
        owner = torch.full((len(hidden),), len(self.index["owners"]), dtype=torch.int32)
        self.index["owners"].append({"sample_id": sample_id, "image": image})
        self.waiting.append(
            {
                "hidden": hidden.to("cpu", getattr(torch, self.dtype)),
                "owner": owner,
                "position": positions.to("cpu", torch.int32),
                "token_type": token_types.to("cpu", torch.uint8),
            }
        )
        while sum(len(part["owner"]) for part in self.waiting) >= self.shard_tokens:
            self._write(self.shard_tokens)

    def close(self) -> int:
        """Writes what is left and the index.

        Returns:
            Number of tokens in the cache.
        """
        if self.waiting:
            self._write(self.shard_tokens)
        (self.folder / "index.json").write_text(json.dumps(self.index), encoding="utf-8")
        return int(self.index["tokens"])

    def _write(self, count: int) -> None:
        joined = {key: torch.cat([part[key] for part in self.waiting]) for key in self.waiting[0]}
        shard = {key: value[:count].contiguous() for key, value in joined.items()}
        rest = {key: value[count:].clone() for key, value in joined.items()}
        self.waiting = [rest] if len(rest["owner"]) else []
        name = f"shard-{len(self.index['shards']):05d}.safetensors"
        save_file({key: value.clone() for key, value in shard.items()}, self.folder / name)
        self.index["shards"].append({"file": name, "tokens": len(shard["owner"])})
        self.index["tokens"] += len(shard["owner"])


class CacheReader:
    """Reads a cache; images are divided into training and held-out ones."""

    def __init__(self, folder: Path, held_out_fraction: float, seed: int) -> None:
        try:
            self.index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(folder / "index.json", "", "is missing or damaged; rerun the stage cache_activations") from error
        self.folder = folder
        self.hook_layer, self.width = int(self.index["hook_layer"]), int(self.index["width"])
        self.held_owner = held_out([owner["image"] for owner in self.index["owners"]], held_out_fraction, seed)

    @property
    def chunks(self) -> int:
        """Number of shards."""
        return len(self.index["shards"])

    def chunk(self, number: int) -> Tensor:
        """Training tokens [n, d] of a shard, float32."""
        shard = self.shard(number)
        return shard["hidden"][~self.held_owner[shard["owner"].long()]].float()

    def shard(self, number: int) -> dict[str, Tensor]:
        """A shard's tensors by name, in the cache's dtype.

        Raises:
            InputError: the shard is missing or damaged.
        """
        path = self.folder / self.index["shards"][number]["file"]
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(path, "", "is missing or damaged; rerun the stage cache_activations") from error

    def shards(self) -> Iterator[dict[str, Tensor]]:
        """Every shard in order, hidden states as float32."""
        for number in range(self.chunks):
            shard = self.shard(number)
            yield shard | {"hidden": shard["hidden"].float()}

    def held_out(self) -> Iterator[dict[str, Tensor]]:
        """Tokens of the held-out images, shard by shard."""
        for number in range(self.chunks):
            shard = self.shard(number)
            keep = self.held_owner[shard["owner"].long()]
            if keep.any():
                yield {key: value[keep] for key, value in shard.items()} | {"hidden": shard["hidden"][keep].float()}


def held_out(images: list[str], fraction: float, seed: int) -> Tensor:
    """Which owners belong to held-out images, bool [owners]: a drawn share of the images, at least one; `images` has each owner's image."""
    names = sorted(set(images))
    count = max(1, round(fraction * len(names)))
    held = {names[i] for i in np.random.default_rng([seed, 17]).permutation(len(names))[:count]}
    return torch.tensor([image in held for image in images])
