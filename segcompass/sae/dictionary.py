"""The one signature of every dictionary: encode, decode, losses (paper section 2, step 3 and stage 1).

Shape letters: T tokens, d width of the hidden states, F concepts, n non-zero codes of a batch.
Departures from the paper, each a key of `sae_training`:
1. `activation_scale: mean_norm` divides activations by a constant so that their mean norm is sqrt(d) (Conerly et al., "Update on how we
   train SAEs", Anthropic 2024); the constant is folded into the weights when a checkpoint is written, so checkpoints read raw activations.
   It makes learning rate and sparsity weight independent of the backbone's scale.
2. `decoder_norm: unit` keeps decoder rows at unit norm and removes the part of their gradient that would change it (Bricken et al.,
   "Towards monosemanticity", 2023); the L1 weight by decoder norm then equals plain L1. `free` leaves the norms to the loss, as the paper.
Departure that a dictionary's own key `decoder` asks for: 3. the decoder is held at its random start, or near it (`held_decoder.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from segcompass.errors import InputError
from segcompass.optimisation.processes import Processes
from segcompass.sae.feature_shards import AllConcepts, ShardOfConcepts
from segcompass.sae.held_decoder import onto_cone
from segcompass.sae.sparse_codes import Places, decode_sparse
from segcompass.sae.sparse_tokens import SparseTokens, encoded_in_blocks

BLOCK_TOKENS = 512
"""Tokens whose codes are dense at one time in `Dictionary.encode_sparse`: 128 MiB at F = 65,536."""


class Dictionary(nn.Module, ABC):
    """Encoder and decoder of F concepts over hidden states of width d."""

    architecture: str
    """The name that a checkpoint gives it."""
    silent_for: Tensor
    """int64 [F], tokens since each concept was last active in training."""
    least_cosine: float | None
    """Each decoder row is held within this cosine of its random start, 1 freezes it; None: it is trained freely."""
    decoder_start: Tensor | None
    """The random start [F, d] of a decoder that may move, but is held near it."""

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.W_dec = nn.Parameter(nn.functional.normalize(torch.randn(features, width), dim=1))
        # A concept a row: the encoder's gradient is made row by row.
        self.W_enc_T = nn.Parameter(self.W_dec.detach().clone())
        self.b_enc = nn.Parameter(torch.zeros(features))
        self.b_dec = nn.Parameter(torch.zeros(width))
        self.register_buffer("silent_for", torch.zeros(features, dtype=torch.int64))
        self.unit_decoder = True
        self.least_cosine: float | None = None
        self.decoder_start: Tensor | None = None
        self.hook_layer = 0
        self.concepts = AllConcepts()

    @property
    def W_enc(self) -> Tensor:  # noqa: N802 - SAELens's name
        """[d, F], a view."""
        return self.W_enc_T.T

    @property
    def features(self) -> int:
        """F, of those that this process holds."""
        return self.W_dec.shape[0]

    @property
    def input_width(self) -> int:
        """d."""
        return self.W_dec.shape[1]

    def pre_activations(self, x: Tensor) -> Tensor:
        """Encoder outputs [.., F] before the nonlinearity, of hidden states [.., d]."""
        return x @ self.W_enc + self.b_enc

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Codes [.., F] of hidden states [.., d]."""

    @torch.no_grad()
    def encode_sparse(self, hidden: Tensor) -> SparseTokens:
        """The non-zero codes of hidden states [n, d] of any number of tokens: those that `encode` gives to blocks of `BLOCK_TOKENS`.

        Memory beside the result is bounded by the block. Codes of other blocks may differ in the last digits, as matrix products do.
        """
        return encoded_in_blocks(self.encode, hidden, self.features, BLOCK_TOKENS)

    def decode(self, z: Tensor) -> Tensor:
        """Hidden states [.., d] of codes [.., F]."""
        return self.concepts.summed(z @ self.W_dec) + self.b_dec

    def decode_sparse(self, values: Tensor, places: Places) -> Tensor:
        """Hidden states [T, d] of codes `values` [n] at `places`."""
        return self.concepts.summed(decode_sparse(values, places, self.W_dec)) + self.b_dec

    @abstractmethod
    def losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The objective on tokens [T, d].

        Returns:
            Named losses, averaged over tokens, whose sum is minimised; and on how many tokens each concept was active, int64 [F].
        """

    def rows(self) -> dict[str, Tensor]:
        """Parameters and buffers that have a row a concept."""
        return {name: value for name, value in (*self.named_parameters(), *self.named_buffers()) if value.ndim and name != "b_dec"}

    def divide(self, processes: Processes) -> None:
        """Keeps this process's share of the concepts, for training; every process has the same dictionary before.

        Raises:
            InputError: the processes cannot share F evenly.
        """
        if self.features % processes.count:
            problem = f"is {self.features}, which {processes.count} processes cannot share evenly; start as many as divide it"
            raise InputError(None, "saes: width", problem)
        own = processes.share(self.features)
        self._replace_rows(lambda value: value[own.start : own.stop].clone())
        self.concepts = ShardOfConcepts(processes)

    def join(self, processes: Processes) -> None:
        """Undoes `divide`: every process holds all concepts, as they were trained."""
        self._replace_rows(processes.gathered)
        self.concepts = AllConcepts()

    @torch.no_grad()
    def _replace_rows(self, made: Callable[[Tensor], Tensor]) -> None:
        for value in self.rows().values():
            value.grad = None
            value.data = made(value.data)
        if self.decoder_start is not None:
            self.decoder_start = made(self.decoder_start)

    def extra_config(self) -> dict[str, object]:
        """Keys of the architecture for `cfg.json`."""
        return {}

    def weights(self) -> dict[str, Tensor]:
        """Tensors of a checkpoint by SAELens's names."""
        return {"W_enc": self.W_enc, "b_enc": self.b_enc, "W_dec": self.W_dec, "b_dec": self.b_dec}

    def hold_decoder(self, least_cosine: float) -> None:
        """Holds each decoder row within a cosine of where it stands now, before training; 1 freezes the decoder.

        The start belongs to no state: it is drawn again, from the same seed, when a run is resumed.
        """
        self.least_cosine = least_cosine
        if least_cosine == 1:
            self.W_dec.requires_grad_(False)
        else:
            self.decoder_start = self.W_dec.detach().clone()

    @torch.no_grad()
    def start_at(self, x: Tensor, centre: Tensor) -> None:  # noqa: ARG002 - subclasses look at the tokens
        """Starting biases, from tokens x [n, d] and their centre [d]: the decoder begins at the centre, the encoder reads x - centre."""
        self.b_dec.copy_(centre)
        self.b_enc.copy_(-centre @ self.W_enc)

    @torch.no_grad()
    def count_silent(self, uses: Tensor, tokens: int) -> None:
        """Counts for how many tokens each concept has been silent, given on how many [F] of the last `tokens` it was active."""
        self.silent_for += tokens
        self.silent_for[uses > 0] = 0

    @torch.no_grad()
    def before_step(self) -> None:
        """What every optimiser step is preceded by: the gradient of unit decoder rows loses its part along them."""
        if self.unit_decoder and self.W_dec.grad is not None:
            along = (self.W_dec.grad * self.W_dec).sum(1, keepdim=True)
            self.W_dec.grad.addcmul_(self.W_dec, along, value=-1.0)

    @torch.no_grad()
    def after_step(self) -> None:
        """What every optimiser step is followed by: rows return to their cone, and unit decoder rows get unit norm again."""
        if not self.W_dec.requires_grad:
            return
        if self.decoder_start is not None and self.least_cosine is not None:
            self.W_dec.copy_(onto_cone(self.W_dec, self.decoder_start, self.least_cosine))
        if self.unit_decoder:
            self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True).clamp(min=1e-12))

    @torch.no_grad()
    def fold_scale(self, scale: float) -> None:
        """Makes a dictionary that was trained on x / scale read and write x itself; codes stay as they were."""
        self.W_enc_T.div_(scale)
        self.W_dec.mul_(scale)
        self.b_dec.mul_(scale)


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Reconstruction error summed over d, averaged over tokens."""
    return (x - reconstruction).square().sum(-1).mean()
