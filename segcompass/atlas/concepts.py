"""What a page says of every concept of a dictionary without any model behind it: how often it fires, on what, and what it resembles.

Numbers that `score_concepts` has written are read, not made again. Made here: the shuffled twin of each purity, histograms, cosines between
decoder rows and their projection.

Shape letters: n tokens, F concepts, d width of the hidden states.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from segcompass.concepts.every_concept import value_frame
from segcompass.concepts.labelled import LabelledTokens
from segcompass.concepts.purity import RankedCodes
from segcompass.errors import damaged
from segcompass.sae.dictionary import Dictionary

TABLES = ("concepts", "concept_values", "top_words")
TOKENS_AT_ONCE, ROWS_AT_ONCE = 4096, 512
BINS = 16
"""Of an activation histogram, from 0 to the concept's greatest activation."""


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables of `score_concepts` that hold one row a concept or several.

    Raises:
        InputError: one is missing or damaged.
    """
    try:
        return {name: pd.read_csv(folder / f"{name}.csv", keep_default_na=name != "top_words") for name in TABLES}
    except (OSError, ValueError) as error:
        raise damaged(folder, ", ".join(f"{name}.csv" for name in TABLES), f"are no concept scores ({error})") from error


@torch.no_grad()
def codes_of(dictionary: Dictionary, hidden: np.ndarray) -> sparse.csr_matrix:
    """Sparse codes [n, F] of hidden states [n, d]."""
    parts = [torch.from_numpy(hidden[start : start + TOKENS_AT_ONCE]) for start in range(0, len(hidden), TOKENS_AT_ONCE)]
    return sparse.vstack([sparse.csr_matrix(dictionary.encode(part).numpy()) for part in parts], format="csr")


def strongest_concepts(codes: sparse.csr_matrix, count: int) -> np.ndarray:
    """Numbers, ascending, of the `count` concepts with the greatest sum of absolute codes; those that never fire are left out."""
    mass = np.asarray(abs(codes).sum(0)).ravel()
    order = np.argsort(-mass, kind="stable")
    return np.sort(order[: min(count, int((mass > 0).sum()))])


def histograms(codes: sparse.csr_matrix, concepts: np.ndarray) -> list[tuple[float, list[int]]]:
    """Greatest activation, and counts of the positive ones in `BINS` equal bins from 0 to it, of each of the concepts."""
    columns = codes.tocsc()
    found = []
    for concept in concepts:
        values = columns.data[columns.indptr[concept] : columns.indptr[concept + 1]]
        positive = values[values > 0]
        greatest = float(positive.max()) if len(positive) else 0.0
        counts = np.histogram(positive, BINS, (0.0, greatest or 1.0))[0]
        found.append((greatest, counts.tolist()))
    return found


def purities(
    tables: Mapping[str, pd.DataFrame],
    codes: Mapping[str, sparse.csr_matrix],
    tokens: Mapping[str, LabelledTokens],
    seed: int,
) -> pd.DataFrame:
    """Purity of each concept for every attribute: columns concept, attribute, value, auroc, shuffled, untrained, untrained_concept.

    `value` is the attribute's value that the concept tells best on `train`, `auroc` how well it tells it on `val`. `shuffled` is the same
    of labels permuted over visual tokens in both splits, the value chosen anew; `untrained` is the AUROC on `val` of the untrained
    dictionary's concept that tells this value best on `train`. No rows where the data have no attributes.

    Args:
        tables: what `read_tables` gives.
        codes: of the tokens by split, [n, F].
        tokens: by split.
        seed: of the permutation.
    """
    columns = ["concept", "attribute", "value", "auroc", "shuffled", "untrained", "untrained_concept"]
    if not tokens["val"].attributes:
        return pd.DataFrame(columns=columns)
    values = tables["concept_values"]
    own, random = (values[values["dictionary"] == name] for name in ("trained", "random"))
    ranked, truth = {}, {}
    for number, (split, of_split) in enumerate(tokens.items()):
        seen = of_split.seen
        ranked[split] = RankedCodes(codes[split][seen].tocsc())
        truth[split] = of_split.labels()[seen][np.random.default_rng([seed, number]).permutation(int(seen.sum()))]
    mixed = value_frame(ranked["train"], truth["train"], ranked["val"], truth["val"], tokens["val"].values())
    rivals = _best(random, ["attribute", "value"]).rename(columns={"auroc": "untrained", "concept": "untrained_concept"})
    shuffled = _best(mixed, ["concept", "attribute"]).rename(columns={"auroc": "shuffled"})
    found = _best(own, ["concept", "attribute"])
    found = found.merge(shuffled[["concept", "attribute", "shuffled"]], "left", ["concept", "attribute"])
    return found.merge(rivals[["attribute", "value", "untrained", "untrained_concept"]], "left", ["attribute", "value"])[columns]


def unit_rows(decoder: np.ndarray) -> np.ndarray:
    """Rows [F, d] scaled to length 1; rows of zeros stay zero."""
    norms = np.linalg.norm(decoder, axis=1, keepdims=True)
    return np.divide(decoder, norms, out=np.zeros_like(decoder), where=norms > 0)


def projection(decoder: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of unit decoder rows [F, d]: coordinates [F, 2], and each axis's share of the variance [2].

    An axis's sign is that with which its greatest coordinate is positive.
    """
    rows = unit_rows(decoder.astype(float))
    centred = rows - rows.mean(0)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    coordinates = np.zeros((len(rows), 2))
    kept = min(2, len(lengths))
    coordinates[:, :kept] = left[:, :kept] * lengths[:kept]
    greatest = coordinates[np.abs(coordinates).argmax(0), [0, 1]]
    shares = np.zeros(2)
    shares[:kept] = lengths[:kept] ** 2 / max(float((lengths**2).sum()), np.finfo(float).tiny)
    return coordinates * np.where(greatest < 0, -1.0, 1.0), shares


def nearest(rows: np.ndarray, others: np.ndarray, count: int, itself: bool) -> tuple[np.ndarray, np.ndarray]:
    """The `count` rows of `others` with the greatest cosine to each unit row: their numbers [F, count] and cosines, best first.

    Args:
        rows: unit rows [F, d].
        others: unit rows [G, d].
        count: at most G, and at most G - 1 with `itself`.
        itself: `others` are the rows themselves, of which none is its own neighbour.
    """
    count = min(count, len(others) - itself)
    places, cosines = np.zeros((len(rows), count), int), np.zeros((len(rows), count))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE] @ others.T
        if itself:
            part[np.arange(len(part)), start + np.arange(len(part))] = -np.inf
        order = np.argsort(-part, axis=1, kind="stable")[:, :count]
        places[start : start + len(part)], cosines[start : start + len(part)] = order, np.take_along_axis(part, order, 1)
    return places, cosines


def words_of(tables: Mapping[str, pd.DataFrame], concepts: np.ndarray) -> dict[int, list[list[Any]]]:
    """Of each of the concepts its words, best first: [word, mean activation, share of its occurrences that fire, occurrences]."""
    frame = tables["top_words"]
    kept = frame[frame["concept"].isin(concepts)].sort_values(["concept", "rank"])
    rows = zip(kept["concept"], kept["word"], kept["activation"], kept["share"], kept["occurrences"], strict=True)
    found: dict[int, list[list[Any]]] = {int(concept): [] for concept in concepts}
    for concept, word, activation, share, occurrences in rows:
        found[int(concept)].append([str(word), float(activation), float(share), int(occurrences)])
    return found


def _best(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The row of the highest AUROC on `train` of every group."""
    known = frame.dropna(subset="auroc_train")
    return known.loc[known.groupby(by, sort=True)["auroc_train"].idxmax()]
