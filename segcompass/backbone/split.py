"""What the families of vision-language models share: the language model split at the hook, the policy's head, reference copies.

`lower` and `upper` call the model's own blocks one after the other, with the mask and rotary positions that its forward pass would make;
nothing of transformers is rewritten. A prompt's rollouts are packed behind one copy of it, those that are word for word the same once, and
without padding, with a mask by which each sees the prompt and itself: at most P + G * A tokens a prompt instead of G * (P + A). Flash
attention takes no such mask and runs over the repeated prompts.
Trained weights are float32 and frozen ones have the study's dtype; autocast keeps the arithmetic in the latter. Blocks are given no
position ids beside their rotary embeddings: flash attention would read packed sequences out of them.
"""

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image as PilImage
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.masking_utils import create_causal_mask

from segcompass.backbone.instruction import InstructionReader, InstructionReading
from segcompass.backbone.interface import INSTRUCTION, OTHER, THOUGHT, VISUAL, HookStates, Image, Prompts, Rollouts, VisionLanguageModel
from segcompass.backbone.prompt import REFERENCE, THINK_CLOSE, THINK_OPEN, SpecialIds, canonical, chat_request, prompt_parts
from segcompass.errors import InputError

MARK = "\ufdd0"
"""Stands for the instruction while the wording is made; Unicode keeps it free of any meaning."""


class SplitModel(VisionLanguageModel):
    """A conditional-generation model of transformers with its processor; a family adds positions and the geometry of its visual tokens."""

    def __init__(self, model: Any, processor: Any, slots: int) -> None:
        super().__init__()
        self.model, self.processor = model, processor
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "left"
        text = model.config.text_config
        self.hidden_width, self.depth = text.hidden_size, text.num_hidden_layers
        self.reference_id, self.think_open_id, self.think_close_id = tokenizer.convert_tokens_to_ids([REFERENCE, THINK_OPEN, THINK_CLOSE])
        self.end_id, self.pad_id = tokenizer.eos_token_id, tokenizer.pad_token_id
        self.vocabulary = len(tokenizer)
        self.image_id: int = model.config.image_token_id
        self.special = SpecialIds(self.think_open_id, self.think_close_id, self.reference_id, self.end_id, slots)
        form = (self.think_open_id, self.think_close_id, self.reference_id, self.end_id, self.pad_id, self.image_id)
        self.reader = InstructionReader(tokenizer, form)
        self.positions = min(text.max_position_embeddings, tokenizer.model_max_length)
        self.before, self.after = self._wording()
        self.hook_layer = self.depth

    @abstractmethod
    def prompt_positions(self, ids: Tensor, mask: Tensor, vision_inputs: dict[str, Tensor]) -> Tensor:
        """Position ids [B, P] (Qwen: [3, B, P]) of prompts [B, P]; 0 on padding."""

    def freeze_up_to(self, hook_layer: int) -> None:
        """See `VisionLanguageModel.freeze_up_to`."""
        if not 1 <= hook_layer <= self.depth:
            raise ValueError(f"hook layer {hook_layer} is not in 1 … {self.depth}")
        self.hook_layer = hook_layer
        self.requires_grad_(False)
        for part in (*self.language.layers[hook_layer:], self.language.norm, self.model.lm_head):
            part.requires_grad_(True).float()

    def prompts(self, images: Sequence[Image], texts: Sequence[str]) -> Prompts:
        """See `VisionLanguageModel.prompts`."""
        # An array of 1 or 3 rows would be taken for one whose first axis is the colours; a picture of Pillow has no such doubt.
        pictures = self.processor.image_processor([PilImage.fromarray(image) for image in images], return_tensors="pt")
        visual = [len(self.token_boxes(image.shape[0], image.shape[1])) for image in images]
        read = [self._read(text, count) for text, count in zip(texts, visual, strict=True)]
        length = max(len(row) for row, _ in read)
        ids = torch.tensor([[self.pad_id] * (length - len(row)) + row for row, _ in read], device=self.device)
        mask = torch.tensor([[False] * (length - len(row)) + [True] * len(row) for row, _ in read], device=self.device)
        types = torch.full_like(ids, INSTRUCTION, dtype=torch.uint8)
        types[ids == self.image_id] = VISUAL
        types[~mask] = OTHER
        vision = {name: pictures[name].to(self.device) for name in self.processor.image_processor.model_input_names}
        vision["pixel_values"] = vision["pixel_values"].to(self.dtype)
        return Prompts(ids, mask, types, self.prompt_positions(ids, mask, vision), vision, tuple(reading for _, reading in read))

    @torch.no_grad()
    def passes(self, prompts: Prompts, answers: Tensor, answer_mask: Tensor, layers: Sequence[int]) -> list[HookStates]:
        """See `VisionLanguageModel.passes`."""
        shown = self._sequences(prompts, answers, answer_mask)
        of_prompts, of_answers = self.embedded(prompts), self.language.embed_tokens(answers)
        found: list[HookStates] = []
        for start, stop in pairwise([0, *layers]):
            hidden = self._grouped(of_prompts, of_answers, shown, start, stop)
            found.append(replace(shown, hidden=hidden))
            of_prompts, of_answers = hidden[:: shown.group, : shown.prompt_length], hidden[:, shown.prompt_length :]
        return found

    def rollout_states(self, prompts: Prompts, rollouts: Rollouts) -> HookStates:
        """See `VisionLanguageModel.rollout_states`."""
        shown = self._sequences(prompts, rollouts.answers, rollouts.answer_mask)
        hidden = torch.cat([rollouts.prompt_hidden.repeat_interleave(shown.group, 0), rollouts.answer_hidden], 1)
        return replace(shown, hidden=hidden)

    def _sequences(self, prompts: Prompts, answers: Tensor, answer_mask: Tensor) -> HookStates:
        """Everything about prompts and answers but their hidden states, which are empty."""
        group = len(answers) // len(prompts.ids)
        mask = torch.cat([prompts.mask.repeat_interleave(group, 0), answer_mask], 1)
        types = torch.cat([prompts.token_types.repeat_interleave(group, 0), self._answer_types(answers, answer_mask)], 1)
        ids = torch.cat([prompts.ids.repeat_interleave(group, 0), answers], 1)
        positions = torch.cat([prompts.positions.repeat_interleave(group, -2), answer_positions(prompts, answer_mask)], -1)
        return HookStates(prompts.positions.new_empty(0), mask, types, positions, ids, prompts.ids.shape[1], group)

    def upper(self, states: HookStates) -> Tensor:
        """See `VisionLanguageModel.upper`."""
        with self.arithmetic():
            prompt = states.hidden[:: states.group, : states.prompt_length]
            answers = states.hidden[:, states.prompt_length :]
            return self.language.norm(self._grouped(prompt, answers, states, self.hook_layer, self.depth))

    def answer_log_probs(self, last: Tensor, states: HookStates, temperature: float) -> Tensor:
        """See `VisionLanguageModel.answer_log_probs`."""
        first = states.prompt_length
        with self.arithmetic():
            logits = self.model.lm_head(last[:, first - 1 : -1]).float() / temperature
        return torch.log_softmax(logits, -1).gather(2, states.ids[:, first:, None])[..., 0]

    def reference_copy(self) -> nn.Module:
        """See `VisionLanguageModel.reference_copy`: its matrices have the frozen weights' dtype again, to which autocast rounds anyway."""
        part = copy.deepcopy(self._upper_part()).requires_grad_(False)
        for module in part.modules():
            if isinstance(module, nn.Linear):
                module.to(self.dtype)
        return part

    def units(self, part: nn.Module | None = None) -> list[tuple[nn.Module, torch.dtype | None]]:
        """See `VisionLanguageModel.units`: layers of the vision tower, embeddings, norms; blocks and head, which autocast rounds anyway."""
        vision = [child for child in self.model.model.children() if child is not self.language]
        before = [*(layer for child in vision for layer in _layers(child)), self.language.embed_tokens] if part is None else []
        upper: Any = self._upper_part() if part is None else part
        blocks = [*self.language.layers] if part is None else [*upper.blocks]
        inner = [module for block in blocks for module in block.modules() if not isinstance(module, nn.Linear)]
        norms = [module for module in inner if next(module.parameters(recurse=False), None) is not None]
        exact: list[tuple[nn.Module, torch.dtype | None]] = [(module, None) for module in (*before, *norms, upper.norm)]
        return exact + [(module, self.dtype) for module in (*blocks, upper.head)]

    @contextmanager
    def using(self, part: nn.Module) -> Iterator[None]:
        """See `VisionLanguageModel.using`."""
        own = self._upper_part()
        self._place(part)
        try:
            yield
        finally:
            self._place(own)

    def answer_ids(self, thought: str) -> list[int]:
        """See `VisionLanguageModel.answer_ids`."""
        return canonical(self.reader.ids(thought), self.special)

    def text(self, ids: Tensor) -> str:
        """See `VisionLanguageModel.text`."""
        return str(self.processor.tokenizer.decode(ids, skip_special_tokens=False))

    def blocks(
        self, hidden: Tensor, mask: Tensor | None, positions: Tensor, start: int, stop: int, cache: Any = None, rotary: Any = None
    ) -> Tensor:
        """Blocks start+1 … stop over hidden states [N, T, d].

        Args:
            hidden: [N, T, d].
            mask: of the form that the attention implementation takes (`causal_mask`).
            positions: [N, T] (Qwen: [3, N, T]).
            start: blocks before this one have run.
            stop: the last block, counted from 1.
            cache: keeps keys and values; None keeps nothing.
            rotary: the positions' rotary embedding where the caller has it.
        """
        rotary = self.language.rotary_emb(hidden, position_ids=positions) if rotary is None else rotary
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        for block in self.language.layers[start:stop]:
            run = partial(checkpoint, block, use_reentrant=False) if recompute else block
            hidden = run(hidden, attention_mask=mask, position_embeddings=rotary, past_key_values=cache)
        return hidden

    def _grouped(self, prompts: Tensor, answers: Tensor, shown: HookStates, start: int, stop: int) -> Tensor:
        """Blocks start+1 … stop over prompts [B, P, d], each followed by its G answers: hidden states [N, T, d].

        Args:
            prompts: [B, P, d].
            answers: [N, A, d], prompt-major.
            shown: everything about the sequences but their hidden states.
            start: blocks before this one have run.
            stop: the last block, counted from 1.
        """
        group, length = shown.group, shown.prompt_length
        if group == 1 or self.language.config._attn_implementation == "flash_attention_2":
            hidden = torch.cat([prompts.repeat_interleave(group, 0), answers], 1)
            return self.blocks(hidden, self.causal_mask(hidden, shown.mask), shown.positions, start, stop)
        once, of, _ = shown.distinct()
        packing = Packing(shown.mask[::group, :length], shown.mask[once, length:], once // group)
        behind = packing.pack(shown.positions[..., once, length:].movedim((-2, -1), (0, 1))).movedim((0, 1), (-2, -1))
        places = torch.cat([shown.positions[..., ::group, :length], behind], -1)
        hidden = torch.cat([prompts, packing.pack(answers[once])], 1)
        hidden = self.blocks(hidden, self.attention_mask(packing.visible, hidden.dtype), places, start, stop)
        return torch.cat([hidden[:, :length].repeat_interleave(group, 0), packing.unpack(hidden[:, length:])[of]], 1)

    def attention_mask(self, visible: Tensor, dtype: torch.dtype) -> Tensor:
        """What eager or sdpa attention takes for a bool mask, true where a token may look."""
        if self.language.config._attn_implementation != "eager":
            return visible
        return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(~visible, torch.finfo(dtype).min)

    def causal_mask(self, hidden: Tensor, mask: Tensor) -> Tensor | None:
        """What the attention implementation takes for sequences [N, T, d] that are valid where `mask`, bool [N, T], is true."""
        return create_causal_mask(self.language.config, hidden, mask.long(), None)

    def embedded(self, prompts: Prompts) -> Tensor:
        """Input embeddings [B, P, d] of prompts, projected visual tokens in their places."""
        embedded = self.language.embed_tokens(prompts.ids)
        features = self.model.model.get_image_features(**prompts.vision_inputs)
        visual = torch.cat(list(getattr(features, "pooler_output", features)))
        return embedded.masked_scatter((prompts.ids == self.image_id)[..., None], visual.to(embedded.dtype))

    @property
    def language(self) -> Any:
        """The language model without its head."""
        return self.model.model.language_model

    @property
    def dtype(self) -> torch.dtype:
        """Of the frozen weights and of the arithmetic."""
        return self.language.embed_tokens.weight.dtype

    def _read(self, text: str, visual: int) -> tuple[list[int], InstructionReading]:
        """Ids of a prompt whose picture has `visual` tokens, the instruction cut to what fits, and what is said of it."""
        pieces = self.reader.pieces(self.before, text, self.after)
        reading = self.reader.reading(pieces, self.positions - self.longest_answer - visual - len(pieces.before) - len(pieces.after) + 1)
        place = pieces.before.index(self.image_id)
        before = [*pieces.before[:place], *[self.image_id] * visual, *pieces.before[place + 1 :]]
        return [*before, *pieces.own[: max(0, reading.room)], *pieces.after], reading

    def _wording(self) -> tuple[str, str]:
        """The text of a prompt before its instruction, the image's token in it once, and behind it."""
        if self.processor.chat_template is None:
            wording = " ".join(prompt_parts(MARK, self.special.slots))
        else:
            content = [{"type": "image"}, {"type": "text", "text": chat_request(MARK, self.special.slots)}]
            message = [{"role": "user", "content": content}]
            wording = self.processor.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        before, mark, after = wording.partition(MARK)
        image = self.processor.image_token
        if not mark or MARK in after or before.count(image) != 1 or image in after:
            raise InputError("chat_template", "", "does not give one image and then one request; use the template of the checkpoint")
        return before, after

    def _answer_types(self, answers: Tensor, answer_mask: Tensor) -> Tensor:
        closed = (answers == self.think_close_id).cumsum(1)
        thought = ((closed == 0) | ((closed == 1) & (answers == self.think_close_id))) & answer_mask
        thought &= (answers != self.end_id) & (answers != self.reference_id)
        return torch.where(thought, THOUGHT, OTHER).to(torch.uint8)

    def arithmetic(self) -> torch.autocast:
        """Runs float32 weights in the model's dtype."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _upper_part(self) -> "UpperPart":
        return UpperPart(self.language.layers[self.hook_layer :], self.language.norm, self.model.lm_head)

    def _place(self, part: Any) -> None:
        for index, block in enumerate(part.blocks):
            self.language.layers[self.hook_layer + index] = block
        self.language.norm, self.model.lm_head = part.norm, part.head


def _layers(module: nn.Module) -> list[nn.Module]:
    """What a model calls one after the other: the modules with weights that hold no list of modules."""
    if any(isinstance(inner, nn.ModuleList) for inner in module.modules()):
        return [layer for child in module.children() for layer in _layers(child)]
    return [module] if next(module.parameters(), None) is not None else []


class UpperPart(nn.Module):
    """The blocks above the hook, the final norm and the output head."""

    def __init__(self, blocks: nn.ModuleList, norm: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.blocks, self.norm, self.head = blocks, norm, head


class Packing:
    """Where the valid tokens of D answers stand that are packed behind their B prompts.

    Attributes:
        visible: bool [B, 1, P + W, P + W], W packed places a prompt: a token sees the valid tokens of the prompt and, in an answer, of that
            answer, up to itself; padding sees itself, so that no row is empty.
    """

    def __init__(self, prompt_mask: Tensor, answer_mask: Tensor, prompt: Tensor) -> None:
        """`prompt_mask` bool [B, P]; `answer_mask` bool [D, A], grouped by `prompt`, int64 [D], the prompt of each answer."""
        count, length = prompt_mask.shape
        lengths = answer_mask.sum(1)
        before = lengths.cumsum(0) - lengths
        totals = torch.zeros(count, dtype=torch.long, device=prompt.device).index_add_(0, prompt, lengths)
        begin = before - (totals.cumsum(0) - totals)[prompt]
        self.answer, self.token = answer_mask.nonzero().unbind(1)
        self.row, self.place = prompt[self.answer], (begin[:, None] + answer_mask.cumsum(1) - 1)[answer_mask]
        self.shape = answer_mask.shape
        self.packed_shape = (count, int(totals.max()))
        number = self.pack((1 + torch.arange(len(prompt), device=prompt.device))[:, None].expand(self.shape))  # 0 on padding
        total = length + self.packed_shape[1]
        seen = torch.zeros(count, total, total, dtype=torch.bool, device=prompt.device)
        seen[:, :, :length] = prompt_mask[:, None]
        seen[:, length:, length:] = (number[:, :, None] == number[:, None]) & (number > 0)[:, None]
        self.visible = (seen.tril() | torch.eye(total, dtype=torch.bool, device=seen.device))[:, None]

    def pack(self, answers: Tensor) -> Tensor:
        """What is said of the answers' tokens, [D, A, ..], as [B, W, ..], zero on padding."""
        packed = answers.new_zeros(*self.packed_shape, *answers.shape[2:])
        return packed.index_put((self.row, self.place), answers[self.answer, self.token])

    def unpack(self, packed: Tensor) -> Tensor:
        """What was said of packed places, [B, W, ..], as [D, A, ..], zero on padding."""
        answers = packed.new_zeros(*self.shape, *packed.shape[2:])
        return answers.index_put((self.answer, self.token), packed[self.row, self.place])


def answer_positions(prompts: Prompts, answer_mask: Tensor) -> Tensor:
    """Position ids [N, A] (Qwen: [3, N, A]) of answers, bool [N, A]: on every axis they count on from their prompt's greatest position."""
    group = len(answer_mask) // len(prompts.ids)
    counted = prompts.next_position.repeat_interleave(group)[:, None] + (answer_mask.long().cumsum(1) - 1).clamp(min=0)
    return counted.expand(*prompts.positions.shape[:-2], *counted.shape)


def grid_boxes(rows: int, columns: int, area: tuple[float, float, float, float], height: int, width: int) -> np.ndarray:
    """Boxes (x0, y0, x1, y1) [rows * columns, 4] of a grid over `area`, itself (x0, y0, x1, y1), cut at the borders of the image."""
    x0, y0, x1, y1 = area
    across, down = x0 + np.arange(columns + 1) * (x1 - x0) / columns, y0 + np.arange(rows + 1) * (y1 - y0) / rows
    row, column = np.divmod(np.arange(rows * columns), columns)
    boxes = np.stack([across[column], down[row], across[column + 1], down[row + 1]], 1)
    return np.asarray(boxes.clip(0, [width, height, width, height]))
