"""Shards of a stage's work: into how many jobs it is divided, and which part each of them does.

The parts are runs of whole batches, so every forward pass is the one that a single job makes, and what is gathered from them has the bytes
of its artefact. `segcompass/study/shard_jobs.py` says which jobs these are.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from segcompass.study.section import Section

WILDCARD = "shard"
"""The wildcard that tells the shards of a job apart."""
Number = Annotated[int, Field(ge=1, le=1000)]


class ShardSettings(Section):
    """Into how many jobs the work of a stage's job is divided. Each keeps what it made until the last has ended; then one more gathers the
    artefact, whose bytes do not depend on their number. A study may leave the section out: then every job does its work alone."""

    cache_activations: Number
    """Of one layer."""
    cache_answers: Number
    """Of one part."""
    evaluate_interface: Number
    """Of one run."""
    evaluate_joint: Number
    """Of one run."""


UNDIVIDED = ShardSettings(cache_activations=1, cache_answers=1, evaluate_interface=1, evaluate_joint=1)
SHARDED = tuple(ShardSettings.model_fields)
"""Stages whose work can be divided."""


@dataclass(frozen=True)
class Shard:
    """One of several equal parts of a job's work."""

    number: int
    """From 1."""
    of: int

    @property
    def name(self) -> str:
        """Value of the wildcard, such as `2_of_8`."""
        return f"{self.number}_of_{self.of}"

    def part(self, count: int) -> range:
        """Which of `count` batches are its own: they follow each other, shard by shard, and no shard has two more than another."""
        return range(count * (self.number - 1) // self.of, count * self.number // self.of)


WHOLE = Shard(1, 1)


def own_shard(wildcards: dict[str, str]) -> Shard:
    """The shard that a job's wildcards name; the whole work where they name none."""
    if WILDCARD not in wildcards:
        return WHOLE
    number, _, of = wildcards[WILDCARD].partition("_of_")
    return Shard(int(number), int(of))
