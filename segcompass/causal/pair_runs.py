"""Counterfactual pairs with the answers of both sides, token beside token.

One side of a pair is edited, the other gives: the first side of every other pair and the second of the rest, because more pairs say more
than the second side of the same pair, whose picture differs in one object. Answers have gold thoughts: the policy's own may be wrong or of
another length, so that no token of one side corresponds to one of the other. Of kind `presence` nothing is exchanged: one side of it has
"no such object" by its gold thought alone (the embedded policy says so in 1 of 40 cases where it is true, and in none of 40 others), so
lengths differ, and the decision that would move is the gold wording's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from segcompass.causal.cached_runs import CachedRuns, Place
from segcompass.causal.token_pool import Answers, Blocks
from segcompass.datasets.pairs import CounterfactualPair, Kind, Side
from segcompass.datasets.samples import Sample

Where = Literal["thought", "text"]
"""Which tokens are exchanged: those of the thought, or those of instruction and thought."""
SIDES = 2


@dataclass(frozen=True)
class PairChunk:
    """G pairs of one attribute and kind."""

    pairs: list[CounterfactualPair]
    numbers: list[int]
    """Each pair's number among those of its attribute; it decides which side is edited."""
    answers: Answers
    """Answer 2 g is that of pair g's edited side, 2 g + 1 that of the other one."""

    @property
    def edited(self) -> list[Side]:
        """The edited side of each pair."""
        return [pair.sides[number % SIDES] for pair, number in zip(self.pairs, self.numbers, strict=True)]

    @property
    def giving(self) -> list[Side]:
        """The other side of each pair."""
        return [pair.sides[(number + 1) % SIDES] for pair, number in zip(self.pairs, self.numbers, strict=True)]

    @property
    def values(self) -> list[tuple[str, str]]:
        """The attribute's value on the edited side and on the other one, of each pair."""
        return [pair.values if number % SIDES == 0 else pair.values[::-1] for pair, number in zip(self.pairs, self.numbers, strict=True)]

    @property
    def own(self) -> list[Blocks]:
        """Tokens of the edited sides."""
        return self.answers.blocks[::SIDES]

    @property
    def reference_states(self) -> Tensor:
        """[G, K, d], of the edited sides."""
        return self.answers.reference_states[::SIDES]

    def tokens(self, where: Where) -> tuple[Tensor, Tensor, Tensor]:
        """Places of the edited sides' tokens, those of the corresponding tokens, and whose they are: int64 [M] each.

        Raises:
            ValueError: two sides have different numbers of tokens.
        """
        own, other = ([_places(block, where) for block in self.answers.blocks[side::SIDES]] for side in range(SIDES))
        for pair, mine, theirs in zip(self.pairs, own, other, strict=True):
            if len(mine) != len(theirs):
                raise ValueError(f"sides of {pair.pair}, {pair.kind}, have {len(mine)} and {len(theirs)} tokens, so none correspond")
        counts = torch.tensor([len(places) for places in own])
        group = torch.repeat_interleave(torch.arange(len(own)), counts).to(own[0].device)
        return torch.cat(own), torch.cat(other), group

    def layouts(self, places: Tensor, where: Where) -> list[Tensor]:
        """The edited sides' layouts with other tokens, at `places` [M], in the place of those of `tokens`."""
        parts = places.split([len(_places(block, where)) for block in self.own])
        kept = [block.visual if where == "text" else torch.cat([block.visual, block.instruction]) for block in self.own]
        return [torch.cat(both) for both in zip(kept, parts, strict=True)]


@dataclass(frozen=True)
class PairRuns:
    """The rows of one split that are exchanged, with what was answered."""

    split: str
    rows: list[CounterfactualPair]
    samples: dict[str, Sample]
    """By id, those of both sides and those that are expected."""
    runs: CachedRuns

    @property
    def attributes(self) -> list[str]:
        """In the order of the file."""
        return list(dict.fromkeys(row.attribute for row in self.rows))

    def chunks(self, attribute: str, kind: Kind, size: int) -> Iterator[PairChunk]:
        """The pairs of one attribute and kind, `size` at a time."""
        rows = [row for row in self.rows if (row.attribute, row.kind) == (attribute, kind)]
        for start in range(0, len(rows), size):
            pairs = rows[start : start + size]
            numbers = list(range(start, start + len(pairs)))
            places = [
                self.place(pair.benchmark, pair.sides[(number + turn) % SIDES].sample_id)
                for pair, number in zip(pairs, numbers, strict=True)
                for turn in range(SIDES)
            ]
            yield PairChunk(pairs, numbers, self.runs.answers(places))

    def place(self, benchmark: str, sample_id: str) -> Place:
        """What the sample is cached under."""
        return benchmark, self.split, sample_id

    def of_sides(self, sides: Sequence[Side]) -> list[Sample]:
        """The samples that sides are asked about."""
        return [self.samples[side.sample_id] for side in sides]


def _places(block: Blocks, where: Where) -> Tensor:
    return torch.cat([block.instruction, block.thought]) if where == "text" else block.thought
