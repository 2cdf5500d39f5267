"""How well one concept's activation tells an attribute value: AUROC by ranks, F1 at a threshold chosen on other scenes.

Sparse codes are ranked once; their zeros, most of all entries, are one tie that is never written down. AUROC is the rank-sum statistic
(Mann and Whitney 1947) with mean ranks for ties, one sparse product for all concepts and labels.

Shape letters: n tokens, F concepts, L labels, e non-zero codes.
"""

import numpy as np
from scipy import sparse


class RankedCodes:
    """Codes [n, F] sorted within each concept."""

    def __init__(self, codes: sparse.csc_matrix) -> None:
        codes = codes.copy()
        codes.eliminate_zeros()
        self.tokens, self.concepts = codes.shape
        counts = np.diff(codes.indptr)
        concept = np.repeat(np.arange(self.concepts), counts)
        order = np.lexsort((codes.data, concept))
        self.concept, self.token, self.value = concept, codes.indices[order], codes.data[order]
        """[e] each, by concept and rising value."""
        self.first = codes.indptr[:-1]
        """[F], each concept's first entry."""
        negative = np.bincount(concept[self.value < 0], minlength=self.concepts)
        zeros = self.tokens - counts
        self.zero_rank = negative + (zeros + 1) / 2
        group = np.concatenate([[True], (np.diff(self.value) != 0) | (np.diff(concept) != 0)])[: len(self.value)]
        self.tie = np.cumsum(group) - 1
        """[e], number of the group of equal values of one concept."""
        place = np.arange(len(self.value)) - self.first[concept]
        mean_place = np.bincount(self.tie, place) / np.maximum(1, np.bincount(self.tie))
        self.rank = mean_place[self.tie] + 1 + np.where(self.value > 0, zeros[concept], 0)
        """[e], from 1 to n over all tokens, zeros included."""

    def auroc(self, labels: np.ndarray) -> np.ndarray:
        """AUROC [F, L] of bool labels [n, L]; NaN where a label has no positive or no negative token."""
        truth = labels.astype(float)
        positives = truth.sum(0)
        above_zero = sparse.csc_matrix(
            (self.rank - self.zero_rank[self.concept], self.token, np.append(self.first, len(self.value))), (self.tokens, self.concepts)
        )
        rank_sum = above_zero.T @ truth + self.zero_rank[:, None] * positives
        wins = rank_sum - positives * (positives + 1) / 2
        pairs = positives * (self.tokens - positives)
        return np.asarray(np.divide(wins, pairs, out=np.full(wins.shape, np.nan), where=pairs > 0))

    def best_thresholds(self, labels: np.ndarray) -> np.ndarray:
        """Activation [F, L] from which on a concept best says a label, by F1; infinite where no active token has it.

        Thresholds are positive activations that occur: a silent concept says nothing.
        """
        found = np.full((self.concepts, labels.shape[1]), np.inf)
        on = self.value > 0
        concept, token, value, tie = (part[on][::-1] for part in (self.concept, self.token, self.value, self.tie))
        if not len(value):
            return found
        starts = np.flatnonzero(np.diff(concept, prepend=self.concepts))
        predicted = np.arange(len(value)) - np.repeat(starts, np.diff(np.append(starts, len(value)))) + 1
        whole_tie = np.diff(tie, append=-1) != 0
        for column in range(labels.shape[1]):
            hit = labels[token, column]
            right = np.cumsum(hit)
            right -= np.repeat(right[starts] - hit[starts], np.diff(np.append(starts, len(value))))
            score = np.where(whole_tie, 2 * right / (labels[:, column].sum() + predicted), 0.0)
            best = np.repeat(np.maximum.reduceat(score, starts), np.diff(np.append(starts, len(value))))
            reached = np.flatnonzero((score == best) & (best > 0))[::-1]
            found[concept[reached], column] = value[reached]
        return found

    def f1(self, labels: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
        """F1 [F, L] of "activation at or above the threshold" for bool labels [n, L]; 0 where nothing is right."""
        found = np.zeros(thresholds.shape)
        for column in range(labels.shape[1]):
            said = self.value >= thresholds[self.concept, column]
            predicted = np.bincount(self.concept[said], minlength=self.concepts)
            right = np.bincount(self.concept[said & labels[self.token, column]], minlength=self.concepts)
            found[:, column] = 2 * right / np.maximum(1, labels[:, column].sum() + predicted)
        return found

    def strongest(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(concept, rank from 0, token, activation) of each concept's `count` strongest positive tokens, best first."""
        last = np.append(self.first, len(self.value))[self.concept + 1] - 1
        rank = last - np.arange(len(self.value))
        kept = np.flatnonzero((rank < count) & (self.value > 0))
        kept = kept[np.lexsort((rank[kept], self.concept[kept]))]
        return self.concept[kept], rank[kept], self.token[kept], self.value[kept]


def best_concepts(auroc: np.ndarray) -> np.ndarray:
    """The concept of the highest AUROC for each label, int [L], from [F, L]; the first one where a label has none."""
    return np.asarray(np.where(np.isnan(auroc), -1, auroc).argmax(0))
