"""LLaVA of transformers behind the interface: the language model is split at the hook, nothing of it is rewritten.

`lower` and `upper` call the model's own blocks one after the other, with the mask and rotary positions that its forward pass would make.
Trained weights are float32 and frozen ones have the study's dtype; autocast keeps the arithmetic in the latter.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration
from transformers.models.llava.processing_llava import LlavaProcessor

from segcompass.backbone.interface import INSTRUCTION, OTHER, THOUGHT, VISUAL, HookStates, Image, Prompts, Rollouts, VisionLanguageModel
from segcompass.backbone.prompt import REFERENCE, THINK_CLOSE, THINK_OPEN, SpecialIds, prompt_parts


class LlavaModel(VisionLanguageModel):
    """`LlavaForConditionalGeneration` with its processor."""

    def __init__(self, model: LlavaForConditionalGeneration, processor: LlavaProcessor, slots: int) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        tokenizer = processor.tokenizer
        text = model.config.text_config
        self.hidden_width, self.depth = text.hidden_size, text.num_hidden_layers
        self.reference_id, self.think_open_id, self.think_close_id = tokenizer.convert_tokens_to_ids([REFERENCE, THINK_OPEN, THINK_CLOSE])
        self.end_id, self.pad_id = tokenizer.eos_token_id, tokenizer.pad_token_id
        self.image_id = model.config.image_token_index
        self.special = SpecialIds(self.think_open_id, self.think_close_id, self.reference_id, self.end_id, slots)
        self.hook_layer = self.depth

    def freeze_up_to(self, hook_layer: int) -> None:
        """See `VisionLanguageModel.freeze_up_to`."""
        if not 1 <= hook_layer <= self.depth:
            raise ValueError(f"hook layer {hook_layer} is not in 1 … {self.depth}")
        self.hook_layer = hook_layer
        self.requires_grad_(False)
        for part in (*self._language.layers[hook_layer:], self._language.norm, self.model.lm_head):
            part.requires_grad_(True).float()

    def prompts(self, images: Sequence[Image], texts: Sequence[str]) -> Prompts:
        """See `VisionLanguageModel.prompts`."""
        wording = [" ".join(prompt_parts(text, self.special.slots)) for text in texts]
        batch = self.processor(images=list(images), text=wording, return_tensors="pt", padding=True)
        ids, mask = batch["input_ids"], batch["attention_mask"].bool()
        types = torch.full_like(ids, INSTRUCTION, dtype=torch.uint8)
        types[ids == self.image_id] = VISUAL
        types[~mask] = OTHER
        pixels = batch["pixel_values"].to(self.device, self.model.dtype)
        return Prompts(ids.to(self.device), mask.to(self.device), types.to(self.device), {"pixel_values": pixels})

    @torch.no_grad()
    def generate(
        self, prompts: Prompts, rollouts: int, temperature: float | None, max_new_tokens: int, generator: torch.Generator | None
    ) -> Rollouts:
        """See `VisionLanguageModel.generate`."""
        with self._arithmetic():
            cache = DynamicCache(config=self.model.config.text_config)
            last = self._language(
                inputs_embeds=self._embedded(prompts),
                attention_mask=prompts.mask.long(),
                position_ids=_positions(prompts.mask),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state[:, -1]
            cache.batch_repeat_interleave(rollouts)
            last = last.repeat_interleave(rollouts, 0)
            mask = prompts.mask.repeat_interleave(rollouts, 0)
            alive = torch.ones(len(last), dtype=torch.bool, device=self.device)
            answers, masks, log_probs = [], [], []
            for _ in range(max_new_tokens):
                distribution = torch.log_softmax(self.model.lm_head(last).float() / (temperature or 1.0), -1)
                token = (
                    distribution.argmax(-1) if temperature is None else torch.multinomial(distribution.exp(), 1, generator=generator)[:, 0]
                )
                answers.append(torch.where(alive, token, self.pad_id))
                masks.append(alive)
                log_probs.append(torch.where(alive, distribution.gather(1, token[:, None])[:, 0], 0.0))
                mask = torch.cat([mask, alive[:, None]], 1)
                alive = alive & (token != self.end_id)
                if not alive.any():
                    break
                last = self._language(
                    inputs_embeds=self._language.embed_tokens(answers[-1])[:, None],
                    attention_mask=mask.long(),
                    position_ids=_positions(mask)[:, -1:],
                    past_key_values=cache,
                    use_cache=True,
                ).last_hidden_state[:, -1]
            return Rollouts(torch.stack(answers, 1), torch.stack(masks, 1), torch.stack(log_probs, 1))

    @torch.no_grad()
    def lower(self, prompts: Prompts, answers: Tensor, answer_mask: Tensor) -> HookStates:
        """See `VisionLanguageModel.lower`."""
        repeats = len(answers) // len(prompts.ids)
        embedded = self._embedded(prompts).repeat_interleave(repeats, 0)
        hidden = torch.cat([embedded, self._language.embed_tokens(answers)], 1)
        mask = torch.cat([prompts.mask.repeat_interleave(repeats, 0), answer_mask], 1)
        types = torch.cat([prompts.token_types.repeat_interleave(repeats, 0), self._answer_types(answers, answer_mask)], 1)
        ids = torch.cat([prompts.ids.repeat_interleave(repeats, 0), answers], 1)
        positions = _positions(mask)
        hidden = self.blocks(hidden, self._causal_mask(hidden, mask), positions, 0, self.hook_layer)
        return HookStates(hidden, mask, types, positions, ids, prompts.ids.shape[1])

    def upper(self, states: HookStates) -> Tensor:
        """See `VisionLanguageModel.upper`."""
        mask = self._causal_mask(states.hidden, states.mask)
        with self._arithmetic():
            hidden = self.blocks(states.hidden, mask, states.positions, self.hook_layer, self.depth)
            return self._language.norm(hidden)

    def answer_log_probs(self, last: Tensor, states: HookStates, temperature: float) -> Tensor:
        """See `VisionLanguageModel.answer_log_probs`."""
        first = states.prompt_length
        with self._arithmetic():
            logits = self.model.lm_head(last[:, first - 1 : -1]).float() / temperature
        return torch.log_softmax(logits, -1).gather(2, states.ids[:, first:, None])[..., 0]

    def reference_copy(self) -> nn.Module:
        """See `VisionLanguageModel.reference_copy`."""
        return copy.deepcopy(_Upper(self._language.layers[self.hook_layer :], self._language.norm, self.model.lm_head)).requires_grad_(
            False
        )

    @contextmanager
    def using(self, part: nn.Module) -> Iterator[None]:
        """See `VisionLanguageModel.using`."""
        own = _Upper(self._language.layers[self.hook_layer :], self._language.norm, self.model.lm_head)
        self._place(part)
        try:
            yield
        finally:
            self._place(own)

    def _place(self, part: Any) -> None:
        for index, block in enumerate(part.blocks):
            self._language.layers[self.hook_layer + index] = block
        self._language.norm, self.model.lm_head = part.norm, part.head

    def blocks(self, hidden: Tensor, mask: Tensor | None, positions: Tensor, start: int, stop: int) -> Tensor:
        """Blocks start+1 … stop over hidden states [N, T, d] with an attention mask of the form that the attention implementation takes."""
        rotary = self._language.rotary_emb(hidden, position_ids=positions)
        keep = not (self.gradient_checkpointing and torch.is_grad_enabled())
        for block in self._language.layers[start:stop]:
            run = block if keep else partial(checkpoint, block, use_reentrant=False)
            hidden = run(hidden, attention_mask=mask, position_embeddings=rotary)
        return hidden

    def image_features(self, pixels: Tensor) -> Tensor:
        """Projected visual tokens [B, n, d] of prepared pixels [B, 3, S, S]."""
        features = self.model.model.get_image_features(pixel_values=pixels)
        return torch.stack(list(getattr(features, "pooler_output", features)))

    def text(self, ids: Tensor) -> str:
        """See `VisionLanguageModel.text`."""
        return str(self.processor.tokenizer.decode(ids, skip_special_tokens=False))

    def token_boxes(self, height: int, width: int) -> np.ndarray:
        """See `VisionLanguageModel.token_boxes`: the square is padded on both sides of the shorter dimension."""
        side = self.model.config.vision_config.image_size // self.model.config.vision_config.patch_size
        square = max(height, width)
        edges = np.arange(side + 1) * square / side
        down, across = edges - (square - height) // 2, edges - (square - width) // 2
        rows, columns = np.divmod(np.arange(side * side), side)
        boxes = np.stack([across[columns], down[rows], across[columns + 1], down[rows + 1]], 1)
        return np.asarray(boxes.clip(0, [width, height, width, height]))

    @property
    def _language(self) -> Any:
        return self.model.model.language_model

    def _embedded(self, prompts: Prompts) -> Tensor:
        embedded = self._language.embed_tokens(prompts.ids)
        features = self.image_features(prompts.vision_inputs["pixel_values"])
        return embedded.masked_scatter((prompts.ids == self.image_id)[..., None], features)

    def _answer_types(self, answers: Tensor, answer_mask: Tensor) -> Tensor:
        closed = (answers == self.think_close_id).cumsum(1)
        thought = ((closed == 0) | ((closed == 1) & (answers == self.think_close_id))) & answer_mask
        thought &= (answers != self.end_id) & (answers != self.reference_id)
        return torch.where(thought, THOUGHT, OTHER).to(torch.uint8)

    def _causal_mask(self, hidden: Tensor, mask: Tensor) -> Tensor | None:
        return create_causal_mask(self._language.config, hidden, mask.long(), None)

    def _arithmetic(self) -> torch.autocast:
        dtype = self._language.embed_tokens.weight.dtype
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)


class _Upper(nn.Module):
    """The blocks above the hook, the final norm and the output head."""

    def __init__(self, blocks: nn.ModuleList, norm: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.blocks, self.norm, self.head = blocks, norm, head


def _positions(mask: Tensor) -> Tensor:
    return (mask.long().cumsum(1) - 1).clamp(min=0)
