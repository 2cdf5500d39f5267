"""For every attribute value the concept that tells it best: chosen, with its threshold, on `train` scenes, measured on `val` scenes.

Beside it: the best concept of the untrained twin, the best one for labels shuffled over the tokens, and a linear read-out of the hidden
states, which says whether the layer holds the attribute at all.

Shape letters: n visual tokens that lie in the image, L attribute values, F concepts, d width of the hidden states.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from segcompass.concepts.contrast import contrast
from segcompass.concepts.purity import RankedCodes, best_concepts
from segcompass.stats.draws import ClusterDraws, Measured, mean_of

RIDGE = 10.0
"""Penalty of the linear read-out on standardised hidden states."""


@dataclass(frozen=True)
class Chosen:
    """The best concepts of one dictionary for L labels."""

    concepts: np.ndarray
    """int [L]."""
    thresholds: np.ndarray
    """[L]."""
    auroc: list[Measured]
    f1: list[Measured]


def choose(
    train: RankedCodes, truth: np.ndarray, codes: sparse.csc_matrix, labels: np.ndarray, image: np.ndarray, draws: ClusterDraws
) -> Chosen:
    """Chooses by AUROC on the ranked codes and bool labels of `train`, measures on codes [n, F] and bool labels [n, L] of `val`."""
    concepts = best_concepts(train.auroc(truth))
    thresholds = train.best_thresholds(truth)[concepts, np.arange(len(concepts))]
    auroc, f1 = [], []
    for column, (concept, threshold) in enumerate(zip(concepts, thresholds, strict=True)):
        activation, positive = codes[:, [concept]].toarray()[:, 0], labels[:, column]
        said = activation >= threshold
        auroc.append(draws.auroc(activation, positive, image))
        f1.append(draws.ratio(2.0 * (said & positive), said.astype(float) + positive, image))
    return Chosen(concepts, thresholds, auroc, f1)


def purity_rows(
    values: list[tuple[str, str]],
    trained: Chosen,
    random: Chosen,
    shuffled: Chosen,
    probe: list[Measured],
    counts: np.ndarray,
    level: float,
) -> list[dict[str, Any]]:
    """One row a value and metric, and a row `(mean)` an attribute and metric; counts [L] are the tokens that have the value."""
    rows = []
    groups = [(attribute, value, [index]) for index, (attribute, value) in enumerate(values)]
    for attribute in dict.fromkeys(name for name, _ in values):
        groups.append((attribute, "(mean)", [index for index, (name, _) in enumerate(values) if name == attribute]))
    for attribute, value, columns in groups:
        for metric in ("auroc", "f1"):
            on, off, mixed = (mean_of([getattr(chosen, metric)[column] for column in columns]) for chosen in (trained, random, shuffled))
            row: dict[str, Any] = {"attribute": attribute, "value": value, "metric": metric, "tokens": int(counts[columns].sum())}
            for name, chosen in (("concept", trained), ("random_concept", random)):
                row[name] = int(chosen.concepts[columns[0]]) if value != "(mean)" else -1
            row["linear_probe"] = mean_of([probe[column] for column in columns]).value if metric == "auroc" else np.nan
            rows.append(row | contrast(on, off, mixed, level))
    return rows


def linear_probe(
    train: np.ndarray, truth: np.ndarray, hidden: np.ndarray, labels: np.ndarray, image: np.ndarray, draws: ClusterDraws
) -> list[Measured]:
    """AUROC on `val` of ridge regressions from hidden states to each label, fitted on `train`.

    Args:
        train: hidden states [n', d] of `train`, with bool labels `truth` [n', L].
        truth: see above.
        hidden: hidden states [n, d] of `val`, with bool labels [n, L].
        labels: see above.
        image: int [n].
        draws: of the images.
    """
    middle, spread = train.mean(0), train.std(0) + 1e-6
    x, y = ((part.astype(float) - middle) / spread for part in (train, hidden))
    target = truth - truth.mean(0)
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ target)
    return [draws.auroc(y @ weights[:, column], labels[:, column], image) for column in range(labels.shape[1])]
