"""SAM's embeddings of images, and training targets in its low resolution, computed once per study (stage `embed_images`).

Shape letters: C embedding channels, g embedding side, m side of low-resolution maps, G objects of a sample, B images of a batch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from segcompass.errors import InputError, damaged
from segcompass.joint.shards import ShardWriter, open_shards, read_index, write_index
from segcompass.numerics.finite import narrowed, unfinite


class ImagesWriter:
    """Fills a folder with shards of images and of targets and, at the end, their index."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.folder, self.dtype = folder, dtype
        self._writers = {kind: ShardWriter(folder, kind) for kind in ("images", "targets")}
        self._names: dict[str, list[str]] = {"images": [], "targets": []}

    def add_image(self, image: str, embedding: Tensor, valid: Tensor) -> None:
        """Adds an image: embedding [C, g, g], and where it lies in its maps, bool [m, m]."""
        self._names["images"].append(image)
        narrow = narrowed(embedding, self.dtype, lambda _: f"a value of the embedding of {image}")
        self._writers["images"].add({"embedding": narrow, "valid": valid})

    def add_targets(self, sample_id: str, targets: Tensor) -> None:
        """Adds a sample's objects as area fractions [G, m, m]."""
        self._names["targets"].append(sample_id)
        narrow = narrowed(targets, self.dtype, lambda _: f"a share of an object's pixels of {sample_id}")
        self._writers["targets"].add({"targets": narrow})

    def close(self, facts: dict[str, Any]) -> dict[str, int]:
        """Writes what is left, and the index with `facts`.

        Returns:
            Numbers of images and of samples with targets.
        """
        for writer in self._writers.values():
            writer.flush()
        index = facts | {kind: writer.shards for kind, writer in self._writers.items()} | {"names": self._names}
        write_index(self.folder, index)
        return {kind: len(names) for kind, names in self._names.items()}


class CachedImages:
    """Reads a folder that `ImagesWriter` filled."""

    def __init__(self, folder: Path, segmenter: str, device: torch.device) -> None:
        """Opens the embeddings of the SAM of this name.

        Raises:
            InputError: the folder holds no whole cache, or that of another SAM.
        """
        index = read_index(folder)
        self._images = open_shards(folder, index, "images")
        self._targets = open_shards(folder, index, "targets")
        try:
            self._places = {kind: {name: place for place, name in enumerate(index["names"][kind])} for kind in ("images", "targets")}
            for kind, held in (("images", self._images), ("targets", self._targets)):
                if len(self._places[kind]) != len(held):
                    raise ValueError(f"{len(self._places[kind])} names are given to {len(held)} {kind}")
        except (ValueError, TypeError, KeyError) as error:
            raise damaged(folder, "index.json", f"is no index of images ({error})") from error
        if index.get("segmenter") != segmenter:
            raise InputError(
                folder, "segmenter", f"is {index.get('segmenter')}, and the interface's {segmenter}; name the images of that one"
            )
        self.folder, self.device = folder, device

    def __contains__(self, image: str) -> bool:
        return image in self._places["images"]

    def of(self, images: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings [B, C, g, g], float32, of images by name, and where they lie in their maps, bool [B, m, m].

        Raises:
            InputError: a value is not finite; names its image.
        """
        places = [self._places["images"][name] for name in images]
        side = self._images.get(places[0], "valid").shape[-1]
        embeddings = torch.stack([self._finite("images", "embedding", name) for name in images])
        valid = torch.stack([self._images.get(place, "valid").view(side, side) for place in places])
        return embeddings.to(self.device, torch.float32), valid.to(self.device)

    def targets(self, sample_id: str) -> Tensor:
        """Area fractions [G, m, m], float32, of a training sample's objects.

        Raises:
            InputError: one is not finite; names the sample.
        """
        return self._finite("targets", "targets", sample_id).to(self.device, torch.float32)

    def _finite(self, kind: Literal["images", "targets"], tensor: str, name: str) -> Tensor:
        """A tensor of an image or a sample, if every value is finite."""
        held = self._images if kind == "images" else self._targets
        values = held.get(self._places[kind][name], tensor)
        if found := unfinite(values):
            raise damaged(self.folder, f"{kind}-*.safetensors: {tensor}", f"is {found[1]} at {list(found[0])} of {name}")
        return values
