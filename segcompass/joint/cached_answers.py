"""Cached answers of the base policy with everything that an interface reads of them (stage `cache_answers`).

The policy of the interface experiment never changes, so its answers are computed once per study: those to the training prompts, and those
to every sample that is evaluated, with its own words and with gold ones. Valid tokens only; hidden states of every layer that some
dictionary reads, in half precision.

Shape letters: t tokens of an answer, K reference tokens, d language width, B answers of a batch, T their greatest number of tokens, v
visual tokens of an image.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from segcompass.backbone.token_types import OTHER
from segcompass.errors import InputError, damaged
from segcompass.joint.reading import Policy
from segcompass.joint.shards import ShardWriter, open_shards, read_index, write_index
from segcompass.numerics.finite import narrowed, unfinite


@dataclass(frozen=True)
class Answered:
    """Whose answer it is, and what it says."""

    sample_id: str
    benchmark: str
    split: str
    image: str
    answer: str
    """The text, special tokens included."""
    status: str
    """`ok`, why the instruction cannot be read (backbone/instruction.py), or how the answer breaks the form (backbone/prompt.py); its
    tokens are those of the nearest well-formed answer."""


@dataclass(frozen=True)
class AnswerBatch:
    """B answers, left-padded."""

    hidden: Tensor
    """[B, T, d], float32, after one layer."""
    token_types: Tensor
    """uint8 [B, T], OTHER on padding."""
    ids: Tensor
    """int64 [B, T]."""
    reference_states: Tensor
    """[B, K, d], float32."""
    places: Tensor
    """int64 [B, T], the tokens' places among those of all answers; 0 on padding."""


class AnswersWriter:
    """Fills a folder with shards and, at the end, their index and owners."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.folder, self.dtype = folder, dtype
        self._answers, self._boxes = ShardWriter(folder, "answers"), ShardWriter(folder, "boxes")
        self._owners: list[Answered] = []
        self._images: dict[str, int] = {}

    def add(
        self, owner: Answered, hidden: dict[int, Tensor], token_types: Tensor, ids: Tensor, reference_states: Tensor, boxes: np.ndarray
    ) -> None:
        """Adds an answer.

        Args:
            owner: whose it is.
            hidden: layer -> [t, d].
            token_types: uint8 [t].
            ids: [t].
            reference_states: [K, d].
            boxes: float [v, 4], of the image's visual tokens; kept once an image.
        """

        def kept(states: Tensor, what: str) -> Tensor:
            return narrowed(states, self.dtype, lambda place: f"{what} {place[0]} of the prompt and answer of {owner.sample_id}")

        row = {f"hidden.{layer}": kept(states, f"a state after layer {layer} at token") for layer, states in hidden.items()}
        references = kept(reference_states, "a state of reference token")
        row |= {"token_types": token_types, "ids": ids.int(), "reference_states": references}
        self._add(owner, row, lambda: torch.from_numpy(boxes).float())

    def add_shard(self, folder: Path) -> dict[str, Any]:
        """Adds the answers of a folder that another writer filled, as they lie there.

        Returns:
            The facts that its index was given.

        Raises:
            InputError: it is no whole cache.
        """
        index = read_index(folder)
        answers, boxes = open_shards(folder, index, "answers"), open_shards(folder, index, "boxes")
        places = {image: place for place, image in enumerate(index["images"])}
        for number, owner in enumerate(read_owners(folder)):
            self._add(owner, answers.row(number), partial(boxes.get, places[owner.image], "boxes"))
        return {name: value for name, value in index.items() if name not in ("answers", "boxes", "images")}

    def _add(self, owner: Answered, row: dict[str, Tensor], boxes: Callable[[], Tensor]) -> None:
        self._answers.add(row)
        self._owners.append(owner)
        if owner.image not in self._images:
            self._images[owner.image] = len(self._images)
            self._boxes.add({"boxes": boxes()})

    def close(self, facts: dict[str, Any]) -> int:
        """Writes what is left, and the index with `facts`.

        Returns:
            Number of answers.
        """
        self._answers.flush()
        self._boxes.flush()
        index = facts | {"answers": self._answers.shards, "boxes": self._boxes.shards, "images": list(self._images)}
        write_index(self.folder, index)
        lines = "".join(json.dumps(asdict(owner)) + "\n" for owner in self._owners)
        (self.folder / "owners.jsonl").write_text(lines, encoding="utf-8")
        return len(self._owners)


def read_owners(folder: Path) -> list[Answered]:
    """Whose the answers of a folder are.

    Raises:
        InputError: the list is missing or damaged.
    """
    try:
        return [Answered(**json.loads(line)) for line in (folder / "owners.jsonl").read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise damaged(folder, "index.json, owners.jsonl", f"are no whole cache ({error})") from error


class CachedAnswers:
    """Reads a folder that `AnswersWriter` filled; shards are mapped into memory, not loaded."""

    def __init__(self, folder: Path, layer: int, device: torch.device) -> None:
        """Opens every shard, to read hidden states after `layer`; batches come to `device`.

        Raises:
            InputError: the folder holds no whole cache, or none of that layer.
        """
        index = read_index(folder)
        self._answers = open_shards(folder, index, "answers")
        self._boxes = open_shards(folder, index, "boxes")
        try:
            self.owners = read_owners(folder)
            self._images = {name: place for place, name in enumerate(index["images"])}
            layers = [int(number) for number in index["layers"]]
            self.policy = Policy(**{key: int(index[key]) for key in ("vocabulary", "slots", "longest")})
            if not self.owners or len(self.owners) != len(self._answers) or len(self._images) != len(self._boxes):
                raise ValueError(f"{len(self.owners)} owners are listed for {len(self._answers)} answers")
            if unknown := {owner.image for owner in self.owners} - set(self._images):
                raise ValueError(f"an answer is about {min(unknown)}, which is not listed")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise damaged(folder, "index.json, owners.jsonl", f"are no whole cache ({error})") from error
        if layer not in layers:
            raise InputError(folder, "layers", f"are {layers}, and the dictionary's is {layer}; name the answers of that layer")
        self.folder, self.layer, self.device = folder, layer, device
        self.starts = self._answers.starts("token_types")
        """Place of each answer's first token among those of all answers, int64 [n + 1]."""

    def __len__(self) -> int:
        return len(self._answers)

    def hidden(self, row: int) -> Tensor:
        """Hidden states [t, d] of one answer, as they are kept.

        Raises:
            InputError: one is not finite; names layer, token and value.
        """
        return self._finite(self._answers.get(row, f"hidden.{self.layer}"), row, f"a state after layer {self.layer} at token")

    def token_types(self, row: int) -> Tensor:
        """uint8 [t]."""
        return self._answers.get(row, "token_types")

    def boxes(self, image: str) -> np.ndarray:
        """Pixel boxes (x0, y0, x1, y1) of an image's visual tokens, float [v, 4].

        Raises:
            InputError: a side is not finite.
        """
        boxes = self._boxes.get(self._images[image], "boxes")
        if found := unfinite(boxes):
            raise damaged(self.folder, "boxes-*.safetensors", f"hold {found[1]}, a side of the box of token {found[0][0]} of {image}")
        return boxes.numpy()

    def batch(self, rows: Sequence[int]) -> AnswerBatch:
        """The answers at `rows`."""
        places = [torch.arange(int(self.starts[row]), int(self.starts[row + 1])) for row in rows]
        hidden = self._padded([self.hidden(row).float() for row in rows], 0.0)
        return AnswerBatch(
            hidden,
            self._padded([self.token_types(row) for row in rows], OTHER),
            self._padded([self._answers.get(row, "ids").long() for row in rows], 0),
            self.reference_states(rows),
            self._padded(places, 0),
        )

    def reference_states(self, rows: Sequence[int]) -> Tensor:
        """[B, K, d], float32.

        Raises:
            InputError: one is not finite; names token and value.
        """
        parts = [self._finite(self._answers.get(row, "reference_states"), row, "a state of reference token") for row in rows]
        return torch.stack(parts).to(self.device, torch.float32)

    def _finite(self, states: Tensor, row: int, what: str) -> Tensor:
        """The states, which lie token by token, if every one is finite."""
        if found := unfinite(states):
            (token, _), value = found
            problem = f"hold {value}, {what} {token} of the prompt and answer of {self.owners[row].sample_id}"
            raise damaged(self.folder, "answers-*.safetensors", problem)
        return states

    def _padded(self, parts: list[Tensor], value: float) -> Tensor:
        return pad_sequence(parts, batch_first=True, padding_value=value, padding_side="left").to(self.device)
