"""Tables of every concept of a dictionary: how often it fires and on what, its purity for each attribute value, its strongest tokens.

Shape letters: n tokens, F concepts, L attribute values.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import sparse

from segcompass.concepts.fidelity import DENSITY_EDGES, firing_density
from segcompass.concepts.labelled import VISUAL, LabelledTokens
from segcompass.concepts.purity import RankedCodes

BACKGROUND = "(background)"


def density_frame(codes: sparse.csr_matrix, kinds: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Histogram of firing densities: how many concepts fire on a share of the tokens of each kind between `low` and `high`."""
    rows = []
    for kind, mask in kinds.items():
        concepts, _ = np.histogram(firing_density(codes[mask]), DENSITY_EDGES)
        ends = zip(DENSITY_EDGES[:-1], DENSITY_EDGES[1:], concepts, strict=True)
        rows += [{"token_type": kind, "low": low, "high": high, "concepts": count} for low, high, count in ends]
    return pd.DataFrame(rows)


def value_frame(train: RankedCodes, truth: np.ndarray, val: RankedCodes, labels: np.ndarray, values: list[tuple[str, str]]) -> pd.DataFrame:
    """AUROC and F1 of every concept that fires on `val`, for every attribute value; `threshold` and `auroc_train` are of `train`."""
    thresholds = train.best_thresholds(truth)
    concepts, columns = np.unique(val.concept), range(len(values))
    found = {"auroc_train": train.auroc(truth), "auroc": val.auroc(labels), "f1": val.f1(labels, thresholds), "threshold": thresholds}
    frame = pd.DataFrame({name: part[concepts].ravel() for name, part in found.items()})
    attribute, value = ([values[column][part] for column in columns] * len(concepts) for part in (0, 1))
    names = pd.DataFrame({"concept": np.repeat(concepts, len(values)), "attribute": attribute, "value": value})
    return pd.concat([names, frame], axis=1)


def concept_frame(
    codes: sparse.csr_matrix, kinds: Mapping[str, np.ndarray], monosemanticity: np.ndarray, values: pd.DataFrame
) -> pd.DataFrame:
    """One row a concept: firing density per kind of token, monosemanticity, and the value that it tells best on `train`.

    Args:
        codes: of `val` [n, F].
        kinds: bool masks [n].
        monosemanticity: [F].
        values: what `value_frame` returns.
    """
    frame = pd.DataFrame({f"density_{kind}": firing_density(codes[mask]) for kind, mask in kinds.items()})
    frame.insert(0, "concept", np.arange(codes.shape[1]))
    frame["monosemanticity"] = monosemanticity
    known = values.dropna(subset="auroc_train")
    best = known.loc[known.groupby("concept")["auroc_train"].idxmax()] if len(known) else known
    return frame.merge(best, on="concept", how="left")


def patch_frame(codes: sparse.csr_matrix, tokens: LabelledTokens, count: int) -> pd.DataFrame:
    """The strongest visual tokens of each concept: image, pixel box, activation, and what lies there."""
    seen = np.flatnonzero(tokens.seen)
    concept, rank, place, activation = RankedCodes(codes[seen].tocsc()).strongest(count)
    token = seen[place]
    frame = pd.DataFrame({"concept": concept, "rank": rank, "activation": activation})
    frame["image"] = np.array(tokens.images, object)[tokens.image[token]]
    for column, name in enumerate(("x0", "y0", "x1", "y1")):
        frame[name] = tokens.boxes[token, column].round().astype(int)
    for column, (attribute, values) in enumerate(tokens.attributes.items()):
        frame[attribute] = np.array([*values, BACKGROUND], object)[tokens.classes[token, column]]
    return frame


def word_frame(codes: sparse.csr_matrix, tokens: LabelledTokens, count: int) -> pd.DataFrame:
    """The words of each concept by mean activation over their occurrences, with the share of occurrences on which it fires."""
    text = np.flatnonzero(tokens.token_type != VISUAL)
    word = tokens.word[text]
    occurrences = np.bincount(word, minlength=len(tokens.words))
    by_word = sparse.csr_matrix((np.ones(len(word)), (word, np.arange(len(word)))), (len(tokens.words), len(word)))
    scale = sparse.diags(1 / np.maximum(1, occurrences))
    mean, share = (scale @ by_word @ part for part in (codes[text], (codes[text] > 0).astype(float)))
    concept, rank, number, activation = RankedCodes(mean.tocsc()).strongest(count)
    frame = pd.DataFrame({"concept": concept, "rank": rank, "word": np.array(tokens.words, object)[number], "activation": activation})
    frame["share"] = np.asarray(share.tocsr()[number, concept]).ravel()
    return frame.assign(occurrences=occurrences[number])
