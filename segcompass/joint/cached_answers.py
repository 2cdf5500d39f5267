"""Cached answers of the base policy with everything that the concept interface reads (stage `cache_answers`).

On disk: shards of answers and shards of images, valid tokens only, in half precision where values are hidden states, embeddings or
fractions; `index.json` names the shards and the images. A shard is written as soon as it is full, so memory is bounded by one shard of
each kind.

Shape letters: n answers of a shard, t their tokens, i images of a shard, o their matched objects, K slots, d language width, C embedding
channels, g embedding side, m side of low-resolution maps; B answers of a batch, T their greatest number of tokens.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from segcompass.backbone.interface import OTHER
from segcompass.errors import damaged
from segcompass.numerics.finite import Place, loaded_finite, narrowed, save_finite

SHARD_ROWS = 1024
"""Answers, and images, of a shard."""


@dataclass(frozen=True)
class CachedAnswer:
    """One answer, on the CPU."""

    hidden: Tensor
    """[t, d], after the hook's block, of the valid tokens of prompt and answer."""
    token_types: Tensor
    """uint8 [t]."""
    reference_states: Tensor
    """[K, d], under the base policy."""
    targets: Tensor
    """[G, m, m], area fractions of the objects."""


@dataclass(frozen=True)
class CachedBatch:
    """B answers, left-padded, float32."""

    hidden: Tensor
    """[B, T, d]."""
    token_types: Tensor
    """uint8 [B, T], OTHER on padding."""
    reference_states: Tensor
    """[B, K, d]."""
    embeddings: Tensor
    """[B, C, g, g]."""
    valid: Tensor
    """bool [B, m, m]."""
    targets: list[Tensor]
    """[G, m, m] each."""


class AnswersWriter:
    """Fills a folder with shards and, at the end, their index."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.folder, self.dtype = folder, dtype
        self._answers: list[tuple[CachedAnswer, int]] = []
        self._images: list[tuple[Tensor, Tensor]] = []
        self._places: dict[str, int] = {}
        self._shards: dict[str, list[dict[str, Any]]] = {"answers": [], "images": []}

    def knows(self, image: str) -> bool:
        """Whether an image of this name was added."""
        return image in self._places

    def add_image(self, image: str, embedding: Tensor, valid: Tensor) -> None:
        """Adds an image: embedding [C, g, g], and where it lies in its maps, bool [m, m]."""
        self._places[image] = len(self._places)
        self._images.append((narrowed(embedding, self.dtype, lambda _: f"a value of the embedding of {image}"), valid.cpu()))
        if len(self._images) == SHARD_ROWS:
            self._write_images()

    def add(self, image: str, answer: CachedAnswer) -> None:
        """Adds an answer about an image that was added before."""

        def said(place: Place) -> str:
            return f"a hidden state at token {place[0]} of the prompt and answer about {image}"

        answer = replace(
            answer,
            hidden=narrowed(answer.hidden, self.dtype, said),
            reference_states=narrowed(
                answer.reference_states, self.dtype, lambda place: f"a state of reference token {place[0]} about {image}"
            ),
            targets=narrowed(answer.targets, self.dtype, lambda _: f"a share of an object's pixels in {image}"),
        )
        self._answers.append((answer, self._places[image]))
        if len(self._answers) == SHARD_ROWS:
            self._write_answers()

    def close(self, facts: dict[str, Any]) -> tuple[int, int]:
        """Writes what is left, and the index with `facts`.

        Returns:
            Numbers of answers and images.
        """
        if self._answers:
            self._write_answers()
        if self._images:
            self._write_images()
        (self.folder / "index.json").write_text(json.dumps(facts | self._shards, indent=1) + "\n", encoding="utf-8")
        return sum(shard["rows"] for shard in self._shards["answers"]), len(self._places)

    def _write_answers(self) -> None:
        answers = [answer for answer, _ in self._answers]
        tensors = {
            "hidden": torch.cat([answer.hidden for answer in answers]),
            "token_types": torch.cat([answer.token_types for answer in answers]),
            "tokens": torch.tensor([len(answer.hidden) for answer in answers], dtype=torch.int32),
            "reference_states": torch.stack([answer.reference_states for answer in answers]),
            "targets": torch.cat([answer.targets for answer in answers]),
            "objects": torch.tensor([len(answer.targets) for answer in answers], dtype=torch.int32),
            "image": torch.tensor([place for _, place in self._answers], dtype=torch.int32),
        }
        self._write("answers", tensors, len(answers))
        self._answers.clear()

    def _write_images(self) -> None:
        embeddings, valid = (torch.stack(parts) for parts in zip(*self._images, strict=True))
        self._write("images", {"embeddings": embeddings, "valid": valid}, len(embeddings))
        self._shards["images"][-1]["names"] = list(self._places)[-len(embeddings) :]
        self._images.clear()

    def _write(self, kind: str, tensors: dict[str, Tensor], rows: int) -> None:
        name = f"{kind}-{len(self._shards[kind]):05d}.safetensors"
        save_finite({key: value.contiguous() for key, value in tensors.items()}, self.folder / name)
        self._shards[kind].append({"file": name, "rows": rows})


class CachedAnswers:
    """Reads a folder that `AnswersWriter` filled; shards are mapped into memory, not loaded."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Opens every shard; batches come to `device`.

        Raises:
            InputError: the folder holds no whole cache.
        """
        try:
            index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            self.hook_layer: int = index["hook_layer"]
            self._image_ends = list(accumulate(shard["rows"] for shard in index["images"]))
            self._answer_ends = list(accumulate(shard["rows"] for shard in index["answers"]))
            self._places = {name: place for place, name in enumerate(name for shard in index["images"] for name in shard["names"])}
            if not self._answer_ends or not self._image_ends:
                raise ValueError("no shards are listed")
            self._images = [safe_open(folder / shard["file"], "pt") for shard in index["images"]]
            for file, shard in zip(self._images, index["images"], strict=True):
                _check_lengths(file, shard["file"], dict.fromkeys(("embeddings", "valid"), shard["rows"]))
            if len(self._places) != self._image_ends[-1]:
                raise ValueError(f"{len(self._places)} names are given to {self._image_ends[-1]} images")
            self._answers = [_AnswerShard(folder / shard["file"], shard["rows"], self._image_ends[-1]) for shard in index["answers"]]
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            raise damaged(folder, "index.json and its shards", f"cannot be read ({error})") from error
        self.folder, self.device = folder, device

    def __len__(self) -> int:
        return self._answer_ends[-1]

    def batch(self, rows: Sequence[int]) -> CachedBatch:
        """The answers at `rows`."""
        found = [self._answer(row) for row in rows]
        longest = max(len(answer.hidden) for answer, _ in found)
        hidden = torch.zeros(len(found), longest, found[0][0].hidden.shape[1])
        types = torch.full((len(found), longest), OTHER, dtype=torch.uint8)
        for index, (answer, _) in enumerate(found):
            hidden[index, longest - len(answer.hidden) :] = answer.hidden
            types[index, longest - len(answer.hidden) :] = answer.token_types
        embeddings, valid = zip(*(self._image(place) for _, place in found), strict=True)
        references, embedded = torch.stack([answer.reference_states for answer, _ in found]), torch.stack(embeddings)
        loaded_finite({"hidden": hidden, "reference_states": references, "embeddings": embedded}, self.folder, "shards")
        return CachedBatch(
            hidden.to(self.device),
            types.to(self.device),
            references.to(self.device, torch.float32),
            embedded.to(self.device, torch.float32),
            torch.stack(valid).to(self.device),
            [answer.targets.to(self.device, torch.float32) for answer, _ in found],
        )

    def image(self, name: str) -> tuple[Tensor, Tensor] | None:
        """Embedding [C, g, g], float32, of an image and where it lies in its maps, bool [m, m]; None where no answer is about it."""
        if name not in self._places:
            return None
        embedding, valid = self._image(self._places[name])
        return embedding.to(self.device, torch.float32), valid.to(self.device)

    def features(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Reference states [B, K, d] and embeddings [B, C, g, g], float32, of the answers at `rows`; their hidden states are not read."""
        found = [shard.reference_states(row) for shard, row in map(self._place, rows)]
        states, places = zip(*found, strict=True)
        embeddings = [self._image(place)[0] for place in places]
        return torch.stack(states).to(self.device, torch.float32), torch.stack(embeddings).to(self.device, torch.float32)

    def _answer(self, row: int) -> tuple[CachedAnswer, int]:
        shard, place = self._place(row)
        return shard.row(place)

    def _place(self, row: int) -> tuple["_AnswerShard", int]:
        shard = bisect_right(self._answer_ends, row)
        return self._answers[shard], row - (self._answer_ends[shard - 1] if shard else 0)

    def _image(self, place: int) -> tuple[Tensor, Tensor]:
        shard = bisect_right(self._image_ends, place)
        row = place - (self._image_ends[shard - 1] if shard else 0)
        return self._images[shard].get_slice("embeddings")[row], self._images[shard].get_slice("valid")[row]


def _check_lengths(file: Any, name: str, lengths: dict[str, int]) -> None:
    """Raises a ValueError unless the tensors of the shard `name` have the first dimensions `lengths`."""
    for tensor, length in lengths.items():
        held = file.get_slice(tensor).get_shape()[0]
        if held != length:
            raise ValueError(f"{name} holds {held} rows of {tensor}, not {length}")


class _AnswerShard:
    """One shard of answers; where each begins is kept, what it holds is read when asked for."""

    def __init__(self, path: Path, rows: int, images: int) -> None:
        """`rows` answers about some of `images` images; a ValueError if the shard holds others."""
        self._file = safe_open(path, "pt")
        _check_lengths(self._file, path.name, dict.fromkeys(("tokens", "objects", "image", "reference_states"), rows))
        self._tokens = [0, *accumulate(self._file.get_tensor("tokens").tolist())]
        self._objects = [0, *accumulate(self._file.get_tensor("objects").tolist())]
        self._image: list[int] = self._file.get_tensor("image").tolist()
        if max(self._image) >= images:
            raise ValueError(f"{path.name} refers to image {max(self._image)} of {images}")
        tokens, objects = self._tokens[-1], self._objects[-1]
        _check_lengths(self._file, path.name, {"hidden": tokens, "token_types": tokens, "targets": objects})

    def row(self, row: int) -> tuple[CachedAnswer, int]:
        """An answer, and the place of its image."""
        tokens, objects = slice(*self._tokens[row : row + 2]), slice(*self._objects[row : row + 2])
        parts = {"hidden": tokens, "token_types": tokens, "reference_states": row, "targets": objects}
        return CachedAnswer(**{name: self._file.get_slice(name)[where] for name, where in parts.items()}), self._image[row]

    def reference_states(self, row: int) -> tuple[Tensor, int]:
        """An answer's reference states [K, d], and the place of its image."""
        return self._file.get_slice("reference_states")[row], self._image[row]
