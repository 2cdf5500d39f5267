"""Which samples the battery edits: as many images as possible, the same ones for every run of a study."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

Item = TypeVar("Item")


def round_images(items: Sequence[Item], image: Callable[[Item], str], count: int) -> list[Item]:
    """The first `count` items of rounds over images: one item of every image, then a second one, each in the order given.

    A smaller count takes a beginning of the same list, so that interventions on fewer samples are on some of the same.
    """
    rounds: dict[str, int] = {}
    ranked: list[tuple[int, int, Item]] = []
    for item in items:
        rounds[image(item)] = rounds.get(image(item), -1) + 1
        ranked.append((rounds[image(item)], len(ranked), item))
    return [item for _, _, item in sorted(ranked, key=lambda entry: entry[:2])][:count]


def cuts(total: int, counts: Sequence[int], longest: int) -> list[range]:
    """Ranges of at most `longest` samples of `total` that no count divides, so that each is wholly within it or wholly beyond."""
    ends = sorted({min(count, total) for count in (*counts, total)} - {0})
    return [range(at, min(at + longest, end)) for start, end in pairwise([0, *ends]) for at in range(start, end, longest)]
