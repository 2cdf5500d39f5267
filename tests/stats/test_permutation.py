"""Permutations keep images whole, find what is planted, and err as often as they say where images make expressions alike."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import rankdata

from segcompass.stats.correlation import COEFFICIENTS, Remainders, remainders
from segcompass.stats.permutation import blocks, null_twin, permuted

SIZES = np.arange(48) % 3 + 1
IMAGES = np.repeat(np.arange(48), SIZES)


def run(coefficient: str, generator: np.random.Generator, slope: float = 0.0) -> Remainders:
    """x and y have nearly one value an image each; both go with a confounder."""
    confounder = generator.normal(size=len(IMAGES))
    x, y = (2 * generator.normal(size=48)[IMAGES] + 0.3 * generator.normal(size=len(IMAGES)) + confounder / 2 for _ in range(2))
    return remainders(coefficient, x, y + slope * x, confounder[:, None])


def test_images_of_one_size_are_exchanged_whole() -> None:
    found = blocks(np.array(["b", "a", "b", "c", "d", "d"]))
    assert [rows.tolist() for rows in found] == [[[1], [3]], [[0, 2], [4, 5]]]


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_all_permutations_of_a_small_case_by_hand(coefficient: str) -> None:
    # Three images of two expressions: six orders, each of which must come up, with the coefficient of data that really are exchanged.
    generator = np.random.default_rng(0)
    images = np.array([0, 0, 1, 1, 2, 2])
    x, y = generator.normal(size=(2, 6))
    confounder = generator.normal(size=(6, 1))
    data = remainders(coefficient, x, y, confounder)
    expected = set()
    for order in itertools.permutations(range(3)):
        rows = np.concatenate([np.flatnonzero(images == image) for image in order])
        moved = data.y[rows]
        if coefficient == "partial":  # the confounders are taken out once more
            design = np.column_stack([np.ones(6), rankdata(confounder)])
            moved = moved - design @ np.linalg.lstsq(design, moved, rcond=None)[0]
        expected.add(round(float(data.x @ moved / np.linalg.norm(moved)), 9))
    found = permuted([data], blocks(images), 200, 0)
    assert set(np.round(found, 9)) == expected and len(expected) >= 5, "two orders of ranks may give one coefficient"


def test_runs_are_permuted_together() -> None:
    # The second run is the first with its sign changed: only where an image moves in both alike is the mean always 0.
    first = run("spearman", np.random.default_rng(0))
    second = Remainders(first.x, -first.y, first.confounders, -first.influence)
    assert np.abs(permuted([first, second], blocks(IMAGES), 50, 0)).max() < 1e-12
    assert permuted([first, first], blocks(IMAGES), 50, 0) == pytest.approx(permuted([first], blocks(IMAGES), 50, 0))


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_a_planted_correlation_has_the_smallest_p(coefficient: str) -> None:
    generator = np.random.default_rng(1)
    null = null_twin([run(coefficient, generator, 0.8) for _ in range(2)], IMAGES, 10_000, 0.95, 0)
    assert null.p == 1 / 10_001 and null.low < 0 < null.high


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_it_errs_as_often_as_it_says_and_shuffled_expressions_do_not(coefficient: str) -> None:
    generator, studies = np.random.default_rng(2), 400
    kept, shuffled = np.empty(studies), np.empty(studies)
    for study in range(studies):
        runs = [run(coefficient, generator)]
        kept[study] = null_twin(runs, IMAGES, 199, 0.95, study).p
        shuffled[study] = null_twin(runs, np.arange(len(IMAGES)), 199, 0.95, study).p
    error = 3.5 * math.sqrt(0.05 * 0.95 / studies)
    assert abs(np.mean(kept <= 0.05) - 0.05) < error and np.mean(shuffled <= 0.05) > 0.05 + error
    assert np.abs(np.quantile(kept, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 3.5 * 0.5 / math.sqrt(studies)


def test_what_goes_with_the_number_of_expressions_alone_is_no_finding() -> None:
    generator = np.random.default_rng(3)
    x, y = (5.0 * SIZES[IMAGES] + generator.normal(size=48)[IMAGES] for _ in range(2))
    null = null_twin([remainders("pearson", x, y, np.zeros((len(IMAGES), 0)))], IMAGES, 999, 0.95, 0)
    assert null.mean > 0.5 and null.p > 0.05


def test_without_variation_there_is_no_test() -> None:
    flat = remainders("spearman", np.zeros(6), np.arange(6.0), np.zeros((6, 0)))
    assert np.isnan(null_twin([flat], np.arange(6), 20, 0.95, 0).p)
