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
        images = sorted({owner["image"] for owner in self.index["owners"]})
        count = max(1, round(held_out_fraction * len(images)))
        held = {images[i] for i in np.random.default_rng([seed, 17]).permutation(len(images))[:count]}
        self.held_owner = torch.tensor([owner["image"] in held for owner in self.index["owners"]])

    @property
    def width(self) -> int:
        """d."""
        return int(self.index["width"])

    def shards(self, order: np.ndarray | None = None) -> Iterator[dict[str, Tensor]]:
        """Shards in the given order, hidden states as float32."""
        for number in range(len(self.index["shards"])) if order is None else order:
            shard = load_file(self.folder / self.index["shards"][number]["file"])
            yield shard | {"hidden": shard["hidden"].float()}

    def held_out(self) -> Iterator[dict[str, Tensor]]:
        """Tokens of the held-out images, shard by shard."""
        for shard in self.shards():
            keep = self.held_owner[shard["owner"].long()]
            if keep.any():
                yield {key: value[keep] for key, value in shard.items()}

    def batches(self, batch: int, buffer: int, seed: int) -> Iterator[Tensor]:
        """Endless training batches [batch, d]; shards in random order, mixed in a buffer of at most `buffer` tokens plus one shard."""
        epoch = 0
        pool = torch.zeros(0, self.width)
        while True:
            generator = np.random.default_rng([seed, epoch])
            for shard in self.shards(generator.permutation(len(self.index["shards"]))):
                pool = torch.cat([pool, shard["hidden"][~self.held_owner[shard["owner"].long()]]])
                if len(pool) < min(buffer, self._training_tokens()):
                    continue
                pool = pool[torch.from_numpy(generator.permutation(len(pool)))]
                while len(pool) > buffer // 2 and len(pool) >= batch:
                    yield pool[:batch]
                    pool = pool[batch:]
            pool = pool[torch.from_numpy(generator.permutation(len(pool)))]
            while len(pool) >= batch:
                yield pool[:batch]
                pool = pool[batch:]
            epoch += 1

    def _training_tokens(self) -> int:
        return int(self.index["tokens"])
