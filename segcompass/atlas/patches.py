"""Which patches a page shows of a concept: where it fires most, where it fires anyhow, and where one would expect it and it is silent.

Top activations alone flatter a concept: they hide what it does at its usual strength. So patches of every quantile are drawn at random, and
negatives are those silent patches whose hidden states are nearest to the mean of the top ones.

Shape letters: n visual tokens that lie in an image, F concepts, d width of the hidden states.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from segcompass.atlas.concepts import unit_rows
from segcompass.concepts.purity import RankedCodes

CONCEPTS_AT_ONCE = 256


@dataclass(frozen=True)
class Patch:
    """One visual token."""

    token: int
    """Place among the n tokens."""
    activation: float
    quantile: float
    """Share of the concept's positive activations that are not greater; 0 where it is silent."""


@dataclass(frozen=True)
class Patches:
    """What is shown of one concept."""

    top: list[Patch]
    """Strongest first, one an image while there are others."""
    drawn: list[Patch]
    """One from each of as many equal parts of its positive activations, weakest part first."""
    silent: list[Patch]
    """Nearest first, one an image."""


def choose_patches(
    codes: sparse.csr_matrix, hidden: np.ndarray, image: np.ndarray, concepts: np.ndarray, count: int, seed: int
) -> list[Patches]:
    """Patches of each of the concepts, at most `count` of a kind.

    Args:
        codes: [n, F].
        hidden: [n, d].
        image: [n], number of the image.
        concepts: numbers.
        count: of each kind.
        seed: of what is drawn; a concept's draws do not depend on which others are asked for.
    """
    ranked = RankedCodes(codes.tocsc())
    ends = np.append(ranked.first, len(ranked.value))
    tops, draws, active = [], [], []
    for concept in concepts:
        own = slice(ends[concept], ends[concept + 1])
        values, tokens = ranked.value[own], ranked.token[own]
        values, tokens = values[values > 0], tokens[values > 0]
        quantile = np.searchsorted(values, values, "right") / max(1, len(values))
        patches = [Patch(int(token), float(value), float(part)) for token, value, part in zip(tokens, values, quantile, strict=True)]
        tops.append(_spread(patches[::-1], image, count))
        generator = np.random.default_rng([seed, int(concept)])
        parts = [part for part in np.array_split(np.arange(len(patches)), count) if len(part)]
        draws.append([patches[int(generator.choice(part))] for part in parts])
        active.append(tokens)
    silent = _silent(tops, active, unit_rows(hidden), image, count)
    return [Patches(*found) for found in zip(tops, draws, silent, strict=True)]


def _spread(patches: list[Patch], image: np.ndarray, count: int) -> list[Patch]:
    """The first of every image, then the others, until there are `count`; in the order given."""
    seen: set[int] = set()
    first, rest = [], []
    for place, patch in enumerate(patches):
        own = int(image[patch.token])
        (rest if own in seen else first).append(place)
        seen.add(own)
        if len(first) == count:
            break
    return [patches[place] for place in sorted([*first, *rest][:count])]


def _silent(tops: list[list[Patch]], active: list[np.ndarray], states: np.ndarray, image: np.ndarray, count: int) -> list[list[Patch]]:
    found: list[list[Patch]] = []
    for start in range(0, len(tops), CONCEPTS_AT_ONCE):
        part = tops[start : start + CONCEPTS_AT_ONCE]
        means = np.stack([states[[patch.token for patch in top]].mean(0) if top else np.zeros(states.shape[1]) for top in part])
        alike = means @ states.T
        for place, top in enumerate(part):
            row = alike[place]
            row[active[start + place]] = -np.inf
            chosen: dict[int, int] = {}
            # Several patches of one image are alike, so more than `count` are looked at, but not all of them.
            reach = min(len(row), count * 32)
            near = np.argpartition(-row, reach - 1)[:reach]
            for token in near[np.lexsort((near, -row[near]))] if top else []:
                if np.isfinite(row[token]) and len(chosen) < count:
                    chosen.setdefault(int(image[token]), int(token))
            found.append([Patch(token, 0.0, 0.0) for token in chosen.values()])
    return found
