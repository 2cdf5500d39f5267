"""Training batches from any source of tokens, shuffled through a bounded buffer, resumable at any batch.

Memory: the buffer and one chunk of the source, whatever the number of tokens.
"""

import numpy as np
import torch
from torch import Tensor

from segcompass.activations.source import TokenSource
from segcompass.errors import InputError


class TokenStream:
    """Endless training batches [batch, d]; each epoch gives every token once, but for the remainder that the next epoch begins with.

    Chunks come in an order drawn anew for each epoch and are mixed in a buffer, which is filled again when it is half empty. Draws depend
    on the seed and the place in the source alone, so `state` is all that a resumed run needs.
    """

    def __init__(self, source: TokenSource, batch: int, buffer: int, seed: int) -> None:
        if buffer < batch:
            raise InputError(None, "sae_training.buffer_tokens", f"holds {buffer} tokens, fewer than the {batch} of one step; raise it")
        self.source, self.batch, self.seed = source, batch, seed
        self.pool = torch.zeros(buffer, source.width)
        self.place = torch.zeros(4, dtype=torch.int64)
        """Epoch, chunk within its order, token within the chunk, tokens in the pool."""
        self._open: tuple[int, Tensor] | None = None

    def state(self) -> dict[str, Tensor]:
        """The tensors that a resume point keeps; written back in place, they make the stream go on where it was."""
        return {"stream.pool": self.pool, "stream.place": self.place}

    def first(self) -> Tensor:
        """The tokens [n, d] of the buffer as it stands, for statistics; none is consumed."""
        if self._filled < self.batch:
            self._refill()
        return self.pool[: self._filled]

    def __iter__(self) -> "TokenStream":
        return self

    def __next__(self) -> Tensor:
        if self._filled < max(self.batch, len(self.pool) // 2):
            self._refill()
        self.place[3] -= self.batch
        return self.pool[self._filled : self._filled + self.batch].clone()

    @property
    def _filled(self) -> int:
        return int(self.place[3])

    def _refill(self) -> None:
        epoch, position, offset, filled = self.place.tolist()
        before, epochs_begun = filled, 0
        while filled < len(self.pool):
            if position == self.source.chunks:
                if filled >= self.batch:
                    break  # the epoch's last batches
                if epochs_begun > 1 and filled == before:
                    raise InputError(None, "activations", "hold no token for training; raise activations.scenes or lower held_out_fraction")
                epoch, position, epochs_begun = epoch + 1, 0, epochs_begun + 1
            tokens = self._chunk(epoch, position)
            taken = tokens[offset : offset + len(self.pool) - filled]
            self.pool[filled : filled + len(taken)] = taken
            filled, offset = filled + len(taken), offset + len(taken)
            if offset == len(tokens):
                position, offset = position + 1, 0
        if filled > before:
            order = np.random.default_rng([self.seed, epoch, position, offset]).permutation(filled)
            self.pool[:filled] = self.pool[torch.from_numpy(order)]
        self.place.copy_(torch.tensor([epoch, position, offset, filled]))

    def _chunk(self, epoch: int, position: int) -> Tensor:
        order = np.random.default_rng([self.seed, epoch]).permutation(self.source.chunks)
        number = int(order[position])
        if self._open is None or self._open[0] != number:
            self._open = None  # frees the old chunk before the new one is read
            self._open = number, self.source.chunk(number)
        return self._open[1]
