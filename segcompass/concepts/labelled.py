"""Labelled tokens: hidden states at one layer with what the world knows of them, for scoring dictionaries without loading a backbone.

On disk, for each split: `<split>.safetensors` (arrays of one row a token) and `<split>.json` (images, samples, words, attributes).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from segcompass.backbone.token_types import INSTRUCTION, THOUGHT, VISUAL
from segcompass.errors import InputError, damaged

ARRAYS = ("hidden", "token_type", "image", "sample", "word", "boxes", "instance", "classes")


@dataclass(frozen=True)
class LabelledTokens:
    """n tokens of one split; an image's visual tokens stand once, in their order, whatever the number of its expressions."""

    hidden: np.ndarray
    """float32 [n, d]."""
    token_type: np.ndarray
    """uint8 [n]."""
    image: np.ndarray
    """int32 [n], index into `images`."""
    sample: np.ndarray
    """int32 [n], index into `samples`; -1 for visual tokens."""
    word: np.ndarray
    """int32 [n], index into `words`; -1 for visual tokens."""
    boxes: np.ndarray
    """float32 [n, 4], pixel boxes (x0, y0, x1, y1) of visual tokens; empty in the padding and for text."""
    instance: np.ndarray
    """bool [n]: a visual token on an object."""
    classes: np.ndarray
    """int16 [n, a], number of the value of each attribute of the object under a visual token; -1 where there is none."""
    images: list[str]
    """Paths below the data root."""
    samples: list[dict[str, Any]]
    """`sample_id`, `image` (index into `images`), `target` (RLE, null where there is no target)."""
    words: list[str]
    attributes: dict[str, list[str]]
    """Attribute -> its values, in the order of `classes`; empty where the data has no scenes."""

    @property
    def seen(self) -> np.ndarray:
        """bool [n]: visual tokens that lie in the image, not in its padding."""
        x0, y0, x1, y1 = self.boxes.round().T
        return np.asarray((self.token_type == VISUAL) & (x1 > x0) & (y1 > y0))

    def kinds(self) -> dict[str, np.ndarray]:
        """Token types as bool masks [n]; `instance` and `background` divide the visual tokens that lie in the image."""
        return {
            "all": np.ones(len(self.token_type), bool),
            "visual": self.token_type == VISUAL,
            "instance": self.instance,
            "background": self.seen & ~self.instance,
            "instruction": self.token_type == INSTRUCTION,
            "thought": self.token_type == THOUGHT,
        }

    def values(self) -> list[tuple[str, str]]:
        """(attribute, value) of the columns of `labels`."""
        return [(attribute, value) for attribute, values in self.attributes.items() for value in values]

    def labels(self) -> np.ndarray:
        """bool [n, L]: the token lies on an object that has the value; columns as in `values`."""
        columns = [self.classes[:, [index]] == np.arange(len(values)) for index, values in enumerate(self.attributes.values())]
        return np.concatenate([np.zeros((len(self.classes), 0), bool), *columns], axis=1)

    def save(self, folder: Path, split: str, layer: int) -> None:
        """Writes the two files of a split, whose hidden states are of the output of block `layer`.

        Raises:
            InputError: a hidden state is not finite.
        """
        if not (finite := np.isfinite(self.hidden)).all():
            token = int(np.argwhere(~finite)[0, 0])
            problem = (
                f"gives {self.hidden[~finite][0]} as a hidden state of layer {layer} at token {token} of {self.images[self.image[token]]}"
            )
            raise InputError(None, "runtime.dtype", f"{problem}; compute in float32")
        save_file({name: np.ascontiguousarray(getattr(self, name)) for name in ARRAYS}, folder / f"{split}.safetensors")
        rest = {"images": self.images, "samples": self.samples, "words": self.words, "attributes": self.attributes}
        (folder / f"{split}.json").write_text(json.dumps(rest), encoding="utf-8")


def load_labelled(folder: Path, split: str) -> LabelledTokens:
    """Reads what `LabelledTokens.save` wrote.

    Raises:
        InputError: a file is missing or damaged.
    """
    try:
        rest = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
        tokens = LabelledTokens(**load_file(folder / f"{split}.safetensors"), **rest)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise damaged(folder, f"{split}.safetensors, {split}.json", f"are missing or damaged ({error})") from error
    if not (finite := np.isfinite(tokens.hidden)).all():
        token, column = np.argwhere(~finite)[0]
        raise damaged(folder, f"{split}.safetensors: hidden", f"is {tokens.hidden[token, column]} at token {token}")
    return tokens
