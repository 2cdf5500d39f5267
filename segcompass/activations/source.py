"""What dictionaries are trained on: tokens in numbered chunks, from a cache or not, divided by image into training and held-out ones."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

Tokens = dict[str, Tensor]
"""`hidden` [n, d] in the cache's dtype, `owner` [n] int32 (number of the expression), `position` [n] int32 (valid tokens before it),
`token_type` [n] uint8."""


class TokenSource(ABC):
    """Hidden states at the hook in numbered chunks: read from a cache, or computed by a running backbone.

    A chunk is one forward pass of the backbone in either case, so that both give the same tokens in the same order.
    """

    def __init__(self, hook_layer: int, width: int, images: Sequence[str], fraction: float, seed: int) -> None:
        """`images` has each owner's image, of which the share `fraction` is held out."""
        self.hook_layer, self.width = hook_layer, width
        self.held_owner = held_out_owners(images, fraction, seed)

    @property
    @abstractmethod
    def chunks(self) -> int:
        """Number of chunks."""

    @abstractmethod
    def tokens(self, number: int) -> Tokens:
        """All tokens of a chunk."""

    @abstractmethod
    def owners(self, number: int) -> slice:
        """The owners whose tokens a chunk holds."""

    def training(self, number: int) -> Tokens:
        """`hidden` [n, d] as float32 and `token_type` [n] of a chunk's training tokens."""
        if self.held_owner[self.owners(number)].all():
            return {"hidden": torch.zeros(0, self.width), "token_type": torch.zeros(0, dtype=torch.uint8)}
        tokens = self.tokens(number)
        own = ~self.held_owner[tokens["owner"].long()]
        return {"hidden": tokens["hidden"][own].float(), "token_type": tokens["token_type"][own]}

    def chunk(self, number: int) -> Tensor:
        """Training tokens [n, d] of a chunk, float32."""
        return self.training(number)["hidden"]

    def held_out(self) -> Iterator[Tokens]:
        """Tokens of the held-out images, chunk by chunk, hidden states as float32."""
        for number in range(self.chunks):
            if not self.held_owner[self.owners(number)].any():
                continue
            tokens = self.tokens(number)
            keep = self.held_owner[tokens["owner"].long()]
            yield {key: value[keep] for key, value in tokens.items()} | {"hidden": tokens["hidden"][keep].float()}


def held_out_owners(images: Sequence[str], fraction: float, seed: int) -> Tensor:
    """Which owners belong to held-out images, bool [owners]: a drawn share of the images, at least one; `images` has each owner's image."""
    names = sorted(set(images))
    count = max(1, round(fraction * len(names)))
    held = {names[i] for i in np.random.default_rng([seed, 17]).permutation(len(names))[:count]}
    return torch.tensor([image in held for image in images])
