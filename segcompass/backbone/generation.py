"""Sampling G answers a prompt from one shared prefix.

The prompt runs once. Rollouts that have drawn the same words so far are one branch: one query whose word is run once for all of them, and
which forks where their draws part. Keys and values of the prompt are stored once, those of the branches behind them, and a block mask lets
each branch see the prompt and its own words. Memory is at most P + G * A keys a prompt instead of G * (P + A), and every step reads the
prompt's keys once for all branches. The blocks are transformers' own, eager or sdpa; flash attention takes no block mask, so sampling runs
with sdpa where it is chosen, and agrees with the training pass up to rounding.

Shape letters: B prompts, G rollouts a prompt, P prompt tokens, A answer tokens, b prompts that still run, q their branches, padded to the
largest number of any prompt, H key heads, L stored keys, d width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from segcompass.backbone.interface import Prompts, Randomness, Rollouts, SharedGenerator
from segcompass.backbone.split import SplitModel

WORTH_DROPPING = 0.25
"""Share of the prompts that must have ended before they are dropped, which copies the keys of the others."""


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
    """The prompts that still run, with the branches of their rollouts.

    Attributes:
        rollouts: int64 [b, G], the rollouts' places among all B * G.
        branch: int64 [b, G], the branch of each rollout, 0 to q - 1.
        rotary: cosine and sine [b, A, head width] of the answers' positions.
    """

    def __init__(self, prompt_mask: Tensor, group: int, rotary: tuple[Tensor, Tensor]) -> None:
        self.rollouts = torch.arange(len(prompt_mask) * group, device=prompt_mask.device).view(-1, group)
        self.branch = torch.zeros_like(self.rollouts)
        self.rotary = rotary
        self._seen = prompt_mask[:, None]

    def going(self, alive: Tensor) -> Tensor:
        """The rollouts that the next step runs, bool [B * G]: those alive or, where there is none, one that has ended.

        Other processes may still draw, and every step gathers the weights from all; what it computes is thrown away.
        """
        if alive.any():
            return alive
        return torch.zeros_like(alive).index_fill_(0, self.rollouts[0, :1], True)

    def drop_ended(self, alive: Tensor, cache: SharedPrefixCache) -> None:
        """Drops the prompts none of whose rollouts is alive, bool [B * G], where that is worth it."""
        rows = alive[self.rollouts].any(1).nonzero()[:, 0]
        if len(rows) > (1 - WORTH_DROPPING) * len(self.rollouts):
            return
        self.rollouts, self.branch, self._seen = self.rollouts[rows], self.branch[rows], self._seen[rows]
        self.rotary = self.rotary[0][rows], self.rotary[1][rows]
        cache.keep(rows)

    def fork(self, tokens: Tensor, alive: Tensor) -> Tensor:
        """Parts the branches by what their rollouts, of which those `alive`, bool [b, G], go on, have drawn: int64 [b, G].

        Returns:
            The token of each new branch, int64 [b, q].
        """
        together = (self.branch[:, :, None] == self.branch[:, None]) & (tokens[:, :, None] == tokens[:, None]) & alive[:, None]
        first = together.byte().argmax(2)  # the rollout that speaks for the others of its branch
        speaks = alive & (first == torch.arange(first.shape[1], device=first.device))
        count = int(speaks.sum(1).max())
        speakers = speaks.byte().argsort(stable=True, dim=1, descending=True)[:, :count]
        parents = self.branch.gather(1, speakers)
        own = torch.eye(count, dtype=torch.bool, device=alive.device).expand(len(alive), -1, -1)
        self._seen = torch.cat([self._seen.gather(1, parents[..., None].expand(-1, -1, self._seen.shape[2])), own], 2)
        self.branch = (speaks.cumsum(1) - 1).clamp(min=0).gather(1, first)
        return tokens.gather(1, speakers)

    @property
    def visible(self) -> Tensor:
        """What each branch may look at, bool [b, 1, q, L]: the valid tokens of its prompt and its own words."""
        return self._seen[:, None]

    def of_rollouts(self, values: Tensor) -> Tensor:
        """Values of branches [b, q, n] as those of their rollouts [b, G, n]."""
        return values.gather(1, self.branch[..., None].expand(-1, -1, values.shape[2]))


class SamplingModel(SplitModel):
    """A split model that samples."""

    def generate(self, prompts: Prompts, rollouts: int, temperature: float | None, max_new_tokens: int, generator: Randomness) -> Rollouts:
        """See `VisionLanguageModel.generate`."""
        # Divided weights are gathered into memory that training uses again, where no tensor of inference may lie.
        unrecorded = torch.inference_mode() if self.anywhere is None else torch.no_grad()
        with unrecorded, self.arithmetic(), _block_mask_attention(self.language.config):
            found = self._sample(prompts, rollouts, temperature, max_new_tokens, generator)
        # Sampling is many small operations, which cost less where nothing is recorded; autograd takes no tensor from there, but copies.
        return Rollouts(**{name: value.clone() for name, value in vars(found).items()})

    def _sample(self, prompts: Prompts, group: int, temperature: float | None, longest: int, generator: Randomness) -> Rollouts:
        hidden = self.embedded(prompts)
        running = Running(prompts.mask, group, self._answer_rotary(hidden, prompts, longest))
        cache = SharedPrefixCache(prompts.ids.shape[1] + group * longest)
        mask_of_prompts = self.causal_mask(hidden, prompts.mask)
        prompt_hidden = self.blocks(hidden, mask_of_prompts, prompts.positions, 0, self.hook_layer, cache)
        hidden = self.blocks(prompt_hidden, mask_of_prompts, prompts.positions, self.hook_layer, self.depth, cache)
        cache.length = prompts.ids.shape[1]
        last = hidden[:, -1:]
        shape = (running.rollouts.numel(), longest)
        answers = torch.full(shape, self.pad_id, device=self.device)
        log_probs = torch.zeros(shape, device=self.device)
        answer_hidden = torch.zeros(*shape, hidden.shape[-1], dtype=hidden.dtype, device=self.device)
        mask = torch.zeros(shape, dtype=torch.bool, device=self.device)
        alive = torch.ones(shape[0], dtype=torch.bool, device=self.device)
        for step in range(longest):
            places = running.rollouts
            token, log_prob = self._draw(last, running, shape[0], temperature, generator)
            mask[:, step] = alive
            answers[places, step] = torch.where(alive[places], token, self.pad_id)
            log_probs[places, step] = torch.where(alive[places], log_prob, 0.0)
            alive = alive & (answers[:, step] != self.end_id)
            if step + 1 == longest or not self.in_any_process(bool(alive.any())):
                break
            going = running.going(alive)
            running.drop_ended(going, cache)
            places = running.rollouts
            at_hook, last = self._step(running.fork(answers[places, step], going[places]), step, running, cache)
            answer_hidden[places, step] = torch.where(alive[places][..., None], running.of_rollouts(at_hook), 0.0)
        kept = slice(step + 1)
        return Rollouts(answers[:, kept], mask[:, kept], log_probs[:, kept], prompt_hidden, answer_hidden[:, kept])

    def _step(self, tokens: Tensor, step: int, running: Running, cache: SharedPrefixCache) -> tuple[Tensor, Tensor]:
        """Hidden states [b, q, d] of the branches' tokens [b, q], after block l and after the last block."""
        embedded = self.language.embed_tokens(tokens)
        visible = self.attention_mask(running.visible, embedded.dtype)
        rotary = tuple(part[:, step : step + 1] for part in running.rotary)
        at_hook = self.blocks(embedded, visible, tokens, 0, self.hook_layer, cache, rotary)
        hidden = self.blocks(at_hook, visible, tokens, self.hook_layer, self.depth, cache, rotary)
        cache.length += tokens.shape[1]
        return at_hook, hidden

    def _draw(self, last: Tensor, running: Running, count: int, temperature: float | None, generator: Randomness) -> tuple[Tensor, Tensor]:
        """Tokens and log-probabilities [b, G] of the rollouts that run, of `count` in all, given their branches' last states [b, q, d]."""
        logits = self.model.lm_head(self.language.norm(last)).float()
        distribution = running.of_rollouts(torch.log_softmax(logits / (temperature or 1.0), -1))
        if temperature is None:
            token = distribution.argmax(-1)
        else:
            # Every rollout draws its noise in every step, so that an answer does not depend on which others have ended. The quotient with
            # exponential noise is what `torch.multinomial` takes the maximum of.
            if isinstance(generator, SharedGenerator):
                noise = generator.exponential(count, logits.shape[-1])
            else:
                noise = torch.empty(count, logits.shape[-1], device=logits.device).exponential_(generator=generator)
            token = (distribution.exp() / noise[running.rollouts]).argmax(-1)
        return token, distribution.gather(2, token[..., None])[..., 0]

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
