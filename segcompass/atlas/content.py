"""Everything that an atlas holds, as texts, numbers, lists and dictionaries: what page.py writes and the templates read.

Shape letters: n tokens, F concepts, d width of the hidden states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from segcompass.atlas.concepts import (
    codes_of,
    histograms,
    nearest,
    projection,
    purities,
    read_tables,
    strongest_concepts,
    unit_rows,
    words_of,
)
from segcompass.atlas.patches import Patch, choose_patches
from segcompass.concepts.labelled import LabelledTokens
from segcompass.sae.dictionary import Dictionary

NEIGHBOURS = 8
KINDS = ("all", "visual", "instance", "background", "instruction", "thought")


@dataclass
class DictionaryContent:
    """What is said of a dictionary's concepts without a model behind it."""

    dictionary: Dictionary
    tokens: Mapping[str, LabelledTokens]
    """Of `train` and `val`."""
    scores: Path
    """Artefact of `score_concepts`."""
    patches: int
    """Of each kind that are shown of a concept."""
    seed: int

    def __post_init__(self) -> None:
        self.tables = read_tables(self.scores)
        self.codes = {split: codes_of(self.dictionary, of_split.hidden) for split, of_split in self.tokens.items()}
        self.decoder = self.dictionary.W_dec.detach().numpy()
        self.purities = purities(self.tables, self.codes, self.tokens, self.seed)

    @property
    def silent(self) -> int:
        """Concepts that never fire on `val`."""
        return int((np.asarray(abs(self.codes["val"]).sum(0)) == 0).sum())

    def concepts(self, most: int, others: Mapping[str, np.ndarray], pictures: dict[str, int]) -> tuple[list[dict[str, Any]], list[float]]:
        """What is said of the `most` concepts with the greatest mass, and each axis's share of the variance of their map.

        Args:
            most: concepts.
            others: decoder rows [G, d] of other dictionaries of the same layer, by name.
            pictures: path -> number of every picture that is shown; those of the patches are added.
        """
        val, codes = self.tokens["val"], self.codes["val"]
        shown = strongest_concepts(codes, most)
        coordinates, axes = projection(self.decoder[shown])
        rows = unit_rows(self.decoder)
        near = nearest(rows[shown], rows[shown], NEIGHBOURS, True)
        matches = [nearest(rows[shown], unit_rows(other), 1, False) for other in others.values()]
        words = words_of(self.tables, shown)
        seen = np.flatnonzero(val.seen)
        patches = choose_patches(codes[seen], val.hidden[seen], val.image[seen], shown, self.patches, self.seed)
        table = self.tables["concepts"]
        by_concept = table[table["dictionary"] == "trained"].set_index("concept")
        purity = {concept: rows.drop(columns="concept").to_dict("records") for concept, rows in self.purities.groupby("concept")}
        found = []
        for place, (concept, (greatest, counts)) in enumerate(zip(shown.tolist(), histograms(codes, shown), strict=True)):
            row, own = by_concept.loc[concept], patches[place]
            best = None if pd.isna(row["attribute"]) else [row["attribute"], row["value"], float(row["auroc"])]
            found.append(
                {
                    "id": concept,
                    "density": {kind: float(row[f"density_{kind}"]) for kind in KINDS},
                    "mono": float(row["monosemanticity"]),
                    "best": best,
                    "xy": coordinates[place].tolist(),
                    "max": greatest,
                    "histogram": counts,
                    "purity": purity.get(concept, []),
                    "words": words[concept],
                    "top": [self._patch(patch, seen, pictures) for patch in own.top],
                    "drawn": [self._patch(patch, seen, pictures) for patch in own.drawn],
                    "silent": [self._patch(patch, seen, pictures) for patch in own.silent],
                    "near": [[int(shown[other]), float(cosine)] for other, cosine in zip(near[0][place], near[1][place], strict=True)],
                    "match": [[number, int(part[0][place, 0]), float(part[1][place, 0])] for number, part in enumerate(matches)],
                }
            )
        return found, axes.tolist()

    def _patch(self, patch: Patch, seen: np.ndarray, pictures: dict[str, int]) -> list[Any]:
        """Picture, box in pixels, activation, quantile, and what lies there."""
        val, token = self.tokens["val"], int(seen[patch.token])
        place = pictures.setdefault(val.images[int(val.image[token])], len(pictures))
        values = [names[int(number)] for names, number in zip(val.attributes.values(), val.classes[token], strict=True) if number >= 0]
        what = " ".join(values) or ("background" if val.attributes else "")
        return [place, *val.boxes[token].round().astype(int).tolist(), patch.activation, patch.quantile, what]


def with_effects(
    concepts: Sequence[dict[str, Any]], contributions: np.ndarray | None, effects: Mapping[int, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The concepts with their contribution and their exact effect; null of what was not measured."""
    return [
        concept
        | {"contribution": None if contributions is None else float(contributions[concept["id"]]), "effect": effects.get(concept["id"])}
        for concept in concepts
    ]
