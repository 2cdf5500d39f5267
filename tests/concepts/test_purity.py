"""AUROC, thresholds and F1 of sparse codes: by hand, against SciPy, against trying every threshold, and with a planted concept."""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import mannwhitneyu

from segcompass.concepts.best_concept import choose, linear_probe, purity_rows
from segcompass.concepts.purity import RankedCodes, best_concepts
from segcompass.stats.draws import ClusterDraws


def ranked(codes: np.ndarray) -> RankedCodes:
    return RankedCodes(sparse.csc_matrix(codes))


def random_codes(seed: int, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Codes [80, 9] with ties and two silent concepts, and labels [80, 3]."""
    generator = np.random.default_rng(seed)
    codes = generator.integers(-3 if signed else 1, 5, (80, 9)) * (generator.random((80, 9)) < 0.3) * 0.5
    codes[:, [0, 8]] = 0
    return codes, generator.random((80, 3)) < 0.25


def test_auroc_by_hand() -> None:
    # Positives 0 and 3, negatives 0, 0, 1: the 3 beats three, the 0 ties with two and loses to one: 4 of 6 pairs.
    codes = np.array([[0.0], [3], [0], [0], [1]])
    labels = np.array([[True], [True], [False], [False], [False]])
    assert ranked(codes).auroc(labels).tolist() == [[pytest.approx(4 / 6)]]
    assert ranked(-codes).auroc(labels)[0, 0] == pytest.approx(2 / 6), "zeros lie above negative codes"
    assert np.isnan(ranked(codes).auroc(np.ones((5, 1), bool))).all()


@pytest.mark.parametrize("signed", [False, True])
def test_auroc_is_the_mann_whitney_statistic(signed: bool) -> None:
    codes, labels = random_codes(0, signed)
    found = ranked(codes).auroc(labels)
    for concept in range(9):
        for label in range(3):
            on, off = codes[labels[:, label], concept], codes[~labels[:, label], concept]
            assert found[concept, label] == pytest.approx(mannwhitneyu(on, off).statistic / (len(on) * len(off)))


def f1(said: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (said & truth).sum() / max(1, said.sum() + truth.sum())


def test_thresholds_are_the_best_of_all_and_f1_is_read_elsewhere() -> None:
    codes, labels = random_codes(1, signed=True)
    others, truth = random_codes(2, signed=True)
    thresholds = ranked(codes).best_thresholds(labels)
    elsewhere = ranked(others).f1(truth, thresholds)
    for concept in range(9):
        for label in range(3):
            tried = {value: f1(codes[:, concept] >= value, labels[:, label]) for value in np.unique(codes[:, concept]) if value > 0}
            if not tried or max(tried.values()) == 0:
                assert thresholds[concept, label] == np.inf and elsewhere[concept, label] == 0
                continue
            assert tried[thresholds[concept, label]] == pytest.approx(max(tried.values()))
            assert elsewhere[concept, label] == pytest.approx(f1(others[:, concept] >= thresholds[concept, label], truth[:, label]))


def test_the_strongest_tokens_of_each_concept() -> None:
    concept, rank, token, activation = ranked(np.array([[1.0, 0], [3, 0], [2, -1], [0, 5]])).strongest(2)
    assert concept.tolist() == [0, 0, 1] and rank.tolist() == [0, 1, 0]
    assert token.tolist() == [1, 2, 3] and activation.tolist() == [3, 2, 5]


def planted(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes [600, 40], labels [600, 2] and images: concept 7 fires on the first label and nowhere else; the second is noise."""
    generator = np.random.default_rng(seed)
    labels = generator.random((600, 2)) < 0.15
    codes = generator.random((600, 40)) * (generator.random((600, 40)) < 0.1)
    codes[:, 7] = np.where(labels[:, 0], 1 + generator.random(600), 0)
    return codes, labels, np.repeat(np.arange(20), 30)


def test_a_planted_concept_is_found_and_its_shuffled_twin_is_not() -> None:
    (codes, truth, _), (others, labels, image) = planted(3), planted(4)
    draws, generator = ClusterDraws(20, 300, 0), np.random.default_rng(5)
    chosen = choose(ranked(codes), truth, sparse.csc_matrix(others), labels, image, draws)
    mixed = choose(ranked(codes), generator.permutation(truth), sparse.csc_matrix(others), generator.permutation(labels), image, draws)
    assert chosen.concepts[0] == 7 == best_concepts(ranked(codes).auroc(truth))[0]
    assert chosen.auroc[0].value == chosen.f1[0].value == 1.0
    assert abs(mixed.auroc[0].value - 0.5) < 0.06 and abs(chosen.auroc[1].value - 0.5) < 0.06
    probe = linear_probe(codes.astype(np.float32), truth, others.astype(np.float32), labels, image, draws)
    rows = purity_rows([("colour", "red"), ("colour", "blue")], chosen, mixed, mixed, probe, labels.sum(0), 0.95)
    red, mean = rows[0], rows[4]
    assert (red["value"], red["metric"], red["concept"], red["tokens"]) == ("red", "auroc", 7, labels[:, 0].sum())
    assert red["tells_trained_from_random"] is True and red["difference_low"] > 0.3 and red["linear_probe"] > 0.99
    assert rows[2]["tells_trained_from_random"] is False, "the noise label is told by nothing"
    assert mean["value"] == "(mean)" and mean["trained"] == pytest.approx((red["trained"] + rows[2]["trained"]) / 2)
