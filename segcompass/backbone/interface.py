"""The one interface behind which the vision-language models and SAM of transformers stand (paper section 2).

Shape letters: B prompts, G rollouts a prompt, N = B * G (prompt-major: row b * G + g), P prompt tokens (left-padded),
A answer tokens (right-padded), T = P + A, d width of the language model, V vocabulary, K reference tokens,
C channels, g side of SAM's image embedding, m = 4 g side of its low-resolution masks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from segcompass.backbone.instruction import InstructionReading
from segcompass.backbone.prompt import SpecialIds
from segcompass.backbone.token_types import INSTRUCTION as INSTRUCTION
from segcompass.backbone.token_types import OTHER as OTHER
from segcompass.backbone.token_types import THOUGHT as THOUGHT
from segcompass.backbone.token_types import VISUAL as VISUAL

Image = np.ndarray
"""uint8 [height, width, 3]."""


@dataclass(frozen=True)
class SharedGenerator:
    """Random numbers for the prompts of several processes: each draws those of all and uses its own, so their count changes none."""

    generator: torch.Generator
    """Seeded alike in every process."""
    count: int
    """Number of processes."""
    rank: int
    """This process's number, from 0."""

    def exponential(self, rows: int, columns: int) -> Tensor:
        """Exponential noise [rows, columns], as many rows for each process."""
        noise = torch.empty(self.count * rows, columns, device=self.generator.device).exponential_(generator=self.generator)
        return noise[self.rank * rows : (self.rank + 1) * rows]


Randomness = torch.Generator | SharedGenerator | None
"""What answers are drawn with; None draws from torch's own generator."""


@dataclass(frozen=True)
class Prompts:
    """Tokenised prompts with their images, left-padded to one length."""

    ids: Tensor
    """int64 [B, P]."""
    mask: Tensor
    """bool [B, P], false on padding."""
    token_types: Tensor
    """uint8 [B, P], VISUAL, INSTRUCTION or OTHER."""
    positions: Tensor
    """Position ids of the model, int64 [B, P] (Qwen: [3, B, P], time, row and column)."""
    vision_inputs: dict[str, Tensor]
    """What the model's own image processor made (`pixel_values` and, for Qwen, the grids)."""
    readings: tuple[InstructionReading, ...] = ()
    """What was read of each instruction, B of them."""

    @property
    def next_position(self) -> Tensor:
        """Position ids [B] of the first answer token: one more than the greatest of the prompt, the same on every axis."""
        greatest = self.positions.amax(-1)
        return (greatest if greatest.ndim == 1 else greatest.amax(0)) + 1


@dataclass(frozen=True)
class Rollouts:
    """Generated answers, prompt-major."""

    answers: Tensor
    """int64 [N, A], right-padded; ends with the end-of-sequence token where one was generated."""
    answer_mask: Tensor
    """bool [N, A], true up to and including the end of the sequence."""
    log_probs: Tensor
    """float32 [N, A], of each sampled token under the sampling distribution; 0 on padding."""
    prompt_hidden: Tensor
    """[B, P, d], of the prompts after block l."""
    answer_hidden: Tensor
    """[N, A, d], of the answers after block l; zero for each answer's last token, which no token follows, and for padding."""

    @property
    def valid_ids(self) -> list[Tensor]:
        """Each answer's ids without padding, int64 [A]."""
        return [ids[mask] for ids, mask in zip(self.answers, self.answer_mask, strict=True)]


@dataclass(frozen=True)
class HookStates:
    """Hidden states after block l of prompts followed by answers: constants while layers up to l are frozen."""

    hidden: Tensor
    """[N, T, d], output of language-model block l."""
    mask: Tensor
    """bool [N, T]."""
    token_types: Tensor
    """uint8 [N, T]."""
    positions: Tensor
    """Position ids of the model, [N, T] (Qwen: [3, N, T])."""
    ids: Tensor
    """int64 [N, T]."""
    prompt_length: int
    """P."""
    group: int = 1
    """G: rows b * G … b * G + G - 1 begin with the same prompt, which blocks above the hook run over once."""

    @property
    def order(self) -> Tensor:
        """int64 [N, T], the number of valid tokens before each valid one."""
        return (self.mask.long().cumsum(1) - 1).clamp(min=0)

    def distinct(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sequences that differ, grouped by prompt.

        Returns:
            Row of the first of each D distinct sequences, ascending, int64 [D]; of every sequence, which of the D it is, int64 [N]; how
            often each occurs, float32 [D].
        """
        answers = self.ids[:, self.prompt_length :].cpu().numpy()
        seen: dict[tuple[int, bytes], int] = {}
        of = [seen.setdefault((row // self.group, ids.tobytes()), len(seen)) for row, ids in enumerate(answers)]
        _, first = np.unique(of, return_index=True)
        counts = torch.bincount(torch.tensor(of)).float()
        return torch.from_numpy(first).to(self.ids.device), torch.tensor(of, device=self.ids.device), counts.to(self.ids.device)

    def rows(self, index: Tensor) -> "HookStates":
        """The sequences at `index`, int64 [n], each with its own copy of its prompt."""
        of_rows = {name: getattr(self, name)[index] for name in ("hidden", "mask", "token_types", "ids")}
        return HookStates(**of_rows, positions=self.positions[..., index, :], prompt_length=self.prompt_length)


class VisionLanguageModel(nn.Module, ABC):
    """A vision-language policy that thinks, then emits K reference tokens."""

    hidden_width: int
    depth: int
    """Number of language-model blocks."""
    hook_layer: int
    """l, counted from 1; set by `freeze_up_to`."""
    reference_id: int
    vocabulary: int
    """Number of token ids."""
    think_open_id: int
    think_close_id: int
    end_id: int
    pad_id: int
    special: SpecialIds
    """The ids that make up an answer's form."""
    longest_answer: int = 0
    """Tokens that are kept free for an answer behind a prompt."""
    gradient_checkpointing: bool = False
    """Whether `upper` recomputes its blocks in the backward pass."""
    anywhere: Callable[[bool], bool] | None = None
    """Where weights are divided among processes: whether something holds in any of them, which all ask together; None: all are here."""

    def in_any_process(self, here: bool) -> bool:
        """Whether something holds in any process that runs the model's passes together with this one."""
        return here if self.anywhere is None else self.anywhere(here)

    @property
    def device(self) -> torch.device:
        """Where the model's weights are, and everything that it returns."""
        return next(self.parameters()).device

    @abstractmethod
    def freeze_up_to(self, hook_layer: int) -> None:
        """Freezes everything but the blocks above `hook_layer`, the final norm and the output head, and sets `hook_layer`.

        What stays trainable is kept in float32 whatever the model's dtype, because small updates vanish in bfloat16; the arithmetic keeps
        the model's dtype.
        """

    @abstractmethod
    def prompts(self, images: Sequence[Image], texts: Sequence[str]) -> Prompts:
        """Prompts for B images and instructions, in the chat wording that the model was trained on.

        Any text makes a prompt; `Prompts.readings` says which instructions were cut or are not understood.
        """

    @abstractmethod
    def generate(self, prompts: Prompts, rollouts: int, temperature: float | None, max_new_tokens: int, generator: Randomness) -> Rollouts:
        """G answers a prompt from one shared prefix with a KV cache; `temperature` None decodes greedily."""

    def lower(self, prompts: Prompts, answers: Tensor, answer_mask: Tensor) -> HookStates:
        """Runs the frozen blocks up to the hook over prompts and answers, without gradient."""
        return self.passes(prompts, answers, answer_mask, [self.hook_layer])[0]

    @abstractmethod
    def passes(self, prompts: Prompts, answers: Tensor, answer_mask: Tensor, layers: Sequence[int]) -> list[HookStates]:
        """States after each of `layers`, ascending and none above the hook, of prompts and answers; one pass, without gradient."""

    @abstractmethod
    def rollout_states(self, prompts: Prompts, rollouts: Rollouts) -> HookStates:
        """What `lower` gives for generated answers, from the states that sampling computed; the last token of an answer has none."""

    @abstractmethod
    def upper(self, states: HookStates) -> Tensor:
        """Runs the blocks above the hook and the final norm: last hidden states [N, T, d], with gradient."""

    def reference_states(self, last: Tensor, states: HookStates) -> Tensor:
        """r_k, last hidden states [N, K, d] of the reference tokens as float32; every sequence holds exactly K of them."""
        positions = states.ids == self.reference_id
        positions[:, : states.prompt_length] = False
        return last[positions].float().view(len(last), -1, last.shape[-1])

    @abstractmethod
    def answer_log_probs(self, last: Tensor, states: HookStates, temperature: float) -> Tensor:
        """Log-probabilities [N, A] of the answer tokens of `states` given last hidden states [N, T, d]."""

    @abstractmethod
    def reference_copy(self) -> nn.Module:
        """A frozen copy of the parts that `freeze_up_to` leaves trainable: the reference policy."""

    @abstractmethod
    def using(self, part: nn.Module) -> AbstractContextManager[None]:
        """Runs the model with a `reference_copy` in the place of its own upper part."""

    @abstractmethod
    def units(self, part: nn.Module | None = None) -> list[tuple[nn.Module, torch.dtype | None]]:
        """Modules that cover the weights of the model, or of a `reference_copy`, inner ones before those that they lie in.

        Each runs by being called, and stands with the dtype that its weights may be rounded to for that, None for their own.
        """

    @abstractmethod
    def answer_ids(self, thought: str) -> list[int]:
        """Ids of the well-formed answer with this thought, up to and including the end of the sequence."""

    @abstractmethod
    def text(self, ids: Tensor) -> str:
        """The text of one answer's valid ids [A], special tokens included."""

    @abstractmethod
    def token_boxes(self, height: int, width: int) -> np.ndarray:
        """Pixel boxes (x0, y0, x1, y1) in the original image of the visual tokens, in their order; float [n, 4], empty boxes in padding."""


@dataclass(frozen=True)
class SegmenterInputs:
    """Images scaled to SAM's square input, padded at the right and bottom."""

    pixels: Tensor
    """float [B, 3, S, S]."""
    sizes: list[tuple[int, int]]
    """Original (height, width)."""
    valid: Tensor
    """bool [B, m, m], false where a low-resolution mask lies in the padding."""


class Segmenter(nn.Module, ABC):
    """SAM: an image embedding, and masks from heat maps given as mask prompts."""

    channels: int
    grid: int
    """g."""
    mask_side: int
    """m."""

    @property
    def device(self) -> torch.device:
        """Where the model's weights are, and everything that it returns."""
        return next(self.parameters()).device

    @abstractmethod
    def inputs(self, images: Sequence[Image]) -> SegmenterInputs:
        """Prepares B images of any size."""

    @abstractmethod
    def embed(self, inputs: SegmenterInputs) -> Tensor:
        """Image embeddings [B, C, g, g] as float32, without gradient."""

    @abstractmethod
    def decode(self, embeddings: Tensor, heat: Tensor) -> Tensor:
        """Mask logits [B, K, m, m] from embeddings [B, C, g, g] and heat-map logits [B, K, m, m], with gradient."""

    @abstractmethod
    def to_image(self, logits: Tensor, size: tuple[int, int]) -> np.ndarray:
        """Low-resolution logits [K, m, m] as bool masks [K, height, width] of the original image (padding removed)."""

    @abstractmethod
    def to_low_resolution(self, mask: np.ndarray) -> Tensor:
        """A bool mask [height, width] of the original image as area fractions [m, m], zero in the padding."""

    @abstractmethod
    def prompt_parameters(self) -> list[nn.Parameter]:
        """Parameters of the prompt encoder's mask road."""

    @abstractmethod
    def decoder_parameters(self) -> list[nn.Parameter]:
        """Parameters of the mask decoder."""
