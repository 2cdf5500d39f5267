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

from segcompass.backbone.interface import Prompts, Randomness, Rollouts, SharedGenerator
from segcompass.backbone.split import SplitModel

WORTH_DROPPING = 0.25
"""Share of places that must have become useless before the rest are re-packed, which copies their keys."""


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

    def keep(self, rows: Tensor) -> None:
        """Forgets all prompts but `rows`, in ascending order."""
        for layer, pair in self._stored.items():
            for stored in pair:
                stored[: len(rows), :, : self.length] = stored[rows, :, : self.length]
            self._stored[layer] = pair[0][: len(rows)], pair[1][: len(rows)]


class Running:
    """The rollouts that still run: b prompts, q rollouts of each, some of which may have ended; re-packed when too many have.

    Attributes:
        places: int64 [b, q], the rollouts' places among all B * G.
        visible: bool [b, 1, q, capacity], what each may look at: the valid prompt tokens and its own answer tokens.
        rotary: cosine and sine [b, A, head width] of the answer's positions.
    """

    def __init__(self, prompt_mask: Tensor, group: int, longest: int, rotary: tuple[Tensor, Tensor]) -> None:
        count, self.prompt_length = prompt_mask.shape
        self.places = torch.arange(count * group, device=prompt_mask.device).view(count, group)
        self.capacity = self.prompt_length + group * longest
        self.rotary = rotary
        self.visible = self._seeing(prompt_mask[:, None].expand(-1, group, -1))

    def repack(self, alive: Tensor, cache: SharedPrefixCache) -> None:
        """Drops ended prompts and rollouts, given bool [B * G], where at least `WORTH_DROPPING` of the places are saved."""
        runs = alive[self.places]
        rows, width = runs.any(1).nonzero()[:, 0], int(runs.sum(1).max())
        if len(rows) * width > (1 - WORTH_DROPPING) * runs.numel():
            return
        chosen = runs[rows].byte().argsort(stable=True, dim=1, descending=True)[:, :width]
        self.places = self.places[rows].gather(1, chosen)
        seen = self.visible[rows, 0, :, : cache.length]
        self.visible = self._seeing(seen.gather(1, chosen[..., None].expand(-1, -1, cache.length)))
        if len(rows) < len(runs):
            cache.keep(rows)
            self.rotary = self.rotary[0][rows], self.rotary[1][rows]

    def _seeing(self, seen: Tensor) -> Tensor:
        """What rollouts that have seen bool [b, q, L] may look at if q new keys, one a rollout, are stored every step."""
        width, missing = seen.shape[1], self.capacity - seen.shape[2]
        own = torch.eye(width, dtype=torch.bool, device=seen.device).repeat(1, -(-missing // width))[:, :missing]
        return torch.cat([seen, own.expand(len(seen), -1, -1)], 2)[:, None]


class SamplingModel(SplitModel):
    """A split model that samples."""

    def generate(self, prompts: Prompts, rollouts: int, temperature: float | None, max_new_tokens: int, generator: Randomness) -> Rollouts:
        """See `VisionLanguageModel.generate`."""
        with torch.no_grad(), self.arithmetic(), _block_mask_attention(self.language.config):
            return self._sample(prompts, rollouts, temperature, max_new_tokens, generator)

    def _sample(self, prompts: Prompts, group: int, temperature: float | None, longest: int, generator: Randomness) -> Rollouts:
        hidden = self.embedded(prompts)
        running = Running(prompts.mask, group, longest, self._answer_rotary(hidden, prompts, longest))
        cache = SharedPrefixCache(running.capacity)
        mask_of_prompts = self.causal_mask(hidden, prompts.mask)
        prompt_hidden = self.blocks(hidden, mask_of_prompts, prompts.positions, 0, self.hook_layer, cache)
        hidden = self.blocks(prompt_hidden, mask_of_prompts, prompts.positions, self.hook_layer, self.depth, cache)
        cache.length = prompts.ids.shape[1]
        last = hidden[:, -1:].expand(-1, group, -1)
        shape = (running.places.numel(), longest)
        answers = torch.full(shape, self.pad_id, device=self.device)
        log_probs = torch.zeros(shape, device=self.device)
        answer_hidden = torch.zeros(*shape, hidden.shape[-1], dtype=hidden.dtype, device=self.device)
        mask = torch.zeros(shape, dtype=torch.bool, device=self.device)
        alive = torch.ones(shape[0], dtype=torch.bool, device=self.device)
        for step in range(longest):
            token, log_prob = self._draw(last, running.places, shape[0], temperature, generator)
            places = running.places.flatten()
            mask[:, step] = alive
            answers[places, step] = torch.where(alive[places], token, self.pad_id)
            log_probs[places, step] = torch.where(alive[places], log_prob, 0.0)
            alive = alive & (answers[:, step] != self.end_id)
            if step + 1 == longest or not alive.any():
                break
            running.repack(alive, cache)
            at_hook, last = self._step(answers[running.places, step], step, running, cache)
            places = running.places.flatten()
            answer_hidden[places, step] = torch.where(alive[places, None], at_hook.flatten(0, 1), 0.0)
        kept = slice(step + 1)
        return Rollouts(answers[:, kept], mask[:, kept], log_probs[:, kept], prompt_hidden, answer_hidden[:, kept])

    def _step(self, tokens: Tensor, step: int, running: Running, cache: SharedPrefixCache) -> tuple[Tensor, Tensor]:
        """Hidden states [b, q, d] of sampled tokens [b, q], after block l and after the last block."""
        embedded = self.language.embed_tokens(tokens)
        visible = self.attention_mask(running.visible[..., : cache.length + tokens.shape[1]], embedded.dtype)
        rotary = tuple(part[:, step : step + 1] for part in running.rotary)
        at_hook = self.blocks(embedded, visible, tokens, 0, self.hook_layer, cache, rotary)
        hidden = self.blocks(at_hook, visible, tokens, self.hook_layer, self.depth, cache, rotary)
        cache.length += tokens.shape[1]
        return at_hook, hidden

    def _draw(self, last: Tensor, places: Tensor, count: int, temperature: float | None, generator: Randomness) -> tuple[Tensor, Tensor]:
        logits = self.model.lm_head(self.language.norm(last)).flatten(0, 1).float()
        distribution = torch.log_softmax(logits / (temperature or 1.0), -1)
        if temperature is None:
            token = distribution.argmax(-1)
        else:
            # Every place draws its noise in every step, so that an answer does not depend on which others have ended. The quotient with
            # exponential noise is what `torch.multinomial` takes the maximum of.
            if isinstance(generator, SharedGenerator):
                noise = generator.exponential(count, logits.shape[1])
            else:
                noise = torch.empty(count, logits.shape[1], device=logits.device).exponential_(generator=generator)
            token = (distribution.exp() / noise[places.flatten()]).argmax(-1)
        return token, distribution.gather(1, token[:, None])[:, 0]

    def _answer_rotary(self, hidden: Tensor, prompts: Prompts, longest: int) -> tuple[Tensor, Tensor]:
        positions = prompts.next_position[:, None] + torch.arange(longest, device=hidden.device)
        return self.language.rotary_emb(hidden, position_ids=positions.expand(*prompts.positions.shape[:-2], *positions.shape))


@contextmanager
def _block_mask_attention(config: Any) -> Iterator[None]:
    chosen = config._attn_implementation
    if chosen == "flash_attention_2":
        config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        config._attn_implementation = chosen
