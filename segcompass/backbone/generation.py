"""Sampling G answers a prompt from one shared prefix.

The prompt runs once. Its G rollouts are then G queries of one sequence: keys and values of the prompt are stored once, those of the
rollouts behind them, and a block mask lets each rollout see the prompt and itself. Memory is P + G * A keys a prompt instead of
G * (P + A), and every step reads the prompt's keys once for all rollouts. The blocks are transformers' own, eager or sdpa; flash attention
takes no block mask, so sampling runs with sdpa where it is chosen, and agrees with the training pass up to rounding.

Shape letters: B prompts, G rollouts a prompt, P prompt tokens, A answer tokens, H key heads, L stored keys, d width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from segcompass.backbone.interface import Prompts, Rollouts
from segcompass.backbone.split import SplitModel


class SharedPrefixCache:
    """Keys and values [B, H, L, head width], one allocation a block; blocks call `update` as they do that of a transformers cache."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.length = capacity, 0
        self._stored: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Writes what a block computed behind the first `length` entries and returns all entries up to and including it."""
        if layer not in self._stored:
            shape = (*keys.shape[:2], self.capacity)
            self._stored[layer] = keys.new_empty(*shape, keys.shape[-1]), values.new_empty(*shape, values.shape[-1])
        stored_keys, stored_values = self._stored[layer]
        stop = self.length + keys.shape[2]
        stored_keys[:, :, self.length : stop] = keys
        stored_values[:, :, self.length : stop] = values
        return stored_keys[:, :, :stop], stored_values[:, :, :stop]


class SamplingModel(SplitModel):
    """A split model that samples."""

    @torch.no_grad()
    def generate(
        self, prompts: Prompts, rollouts: int, temperature: float | None, max_new_tokens: int, generator: torch.Generator | None
    ) -> Rollouts:
        """See `VisionLanguageModel.generate`."""
        with self.arithmetic(), _block_mask_attention(self.language.config):
            return self._sample(prompts, rollouts, temperature, max_new_tokens, generator)

    def _sample(self, prompts: Prompts, group: int, temperature: float | None, longest: int, generator: torch.Generator | None) -> Rollouts:
        count, length = prompts.ids.shape
        cache = SharedPrefixCache(length + group * longest)
        hidden = self.embedded(prompts)
        visible = self._attention_form(rollout_mask(prompts.mask, group, longest), hidden.dtype)
        rotary = self._answer_rotary(hidden, prompts, longest)
        hidden = self.blocks(hidden, self.causal_mask(hidden, prompts.mask), prompts.positions, 0, self.depth, cache)
        last = hidden[:, -1:].expand(-1, group, -1)
        alive = torch.ones(count * group, dtype=torch.bool, device=self.device)
        answers, masks, log_probs = [], [], []
        for step in range(longest):
            token, log_prob = self._draw(last, temperature, generator)
            answers.append(torch.where(alive, token, self.pad_id))
            masks.append(alive)
            log_probs.append(torch.where(alive, log_prob, 0.0))
            alive = alive & (token != self.end_id)
            if step + 1 == longest or not alive.any():
                break
            cache.length = length + group * step
            embedded = self.language.embed_tokens(answers[-1]).view(count, group, -1)
            here = tuple(part[:, step : step + 1] for part in rotary)
            last = self.blocks(embedded, visible[..., : cache.length + group], prompts.positions, 0, self.depth, cache, here)
        return Rollouts(torch.stack(answers, 1), torch.stack(masks, 1), torch.stack(log_probs, 1))

    def _draw(self, last: Tensor, temperature: float | None, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        logits = self.model.lm_head(self.language.norm(last)).flatten(0, 1).float()
        distribution = torch.log_softmax(logits / (temperature or 1.0), -1)
        token = distribution.argmax(-1) if temperature is None else torch.multinomial(distribution.exp(), 1, generator=generator)[:, 0]
        return token, distribution.gather(1, token[:, None])[:, 0]

    def _attention_form(self, allowed: Tensor, dtype: torch.dtype) -> Tensor:
        if self.language.config._attn_implementation == "eager":
            return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)
        return allowed

    def _answer_rotary(self, hidden: Tensor, prompts: Prompts, longest: int) -> tuple[Tensor, Tensor]:
        positions = prompts.next_position[:, None] + torch.arange(longest, device=hidden.device)
        return self.language.rotary_emb(hidden, position_ids=positions.expand(*prompts.positions.shape[:-2], *positions.shape))


def rollout_mask(prompt_mask: Tensor, group: int, longest: int) -> Tensor:
    """What each rollout may look at, bool [B, 1, G, P + G * A]: valid prompt tokens, bool [B, P], then every G-th answer token, its own."""
    own = torch.eye(group, dtype=torch.bool, device=prompt_mask.device).repeat(1, longest)
    prompt, answers = prompt_mask[:, None].expand(-1, group, -1), own.expand(len(prompt_mask), -1, -1)
    return torch.cat([prompt, answers], 2)[:, None]


@contextmanager
def _block_mask_attention(config: Any) -> Iterator[None]:
    chosen = config._attn_implementation
    if chosen == "flash_attention_2":
        config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        config._attn_implementation = chosen
