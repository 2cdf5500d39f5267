"""Measured on simulated studies with known truth: 95 % intervals cover 95 %, p-values are uniform, families rarely err.

A rate over R studies is judged by its own binomial error, 3.5 standard errors: a false alarm in about 2,000 tests.
"""

import math

import numpy as np
import pytest

from segcompass.stats.crossed import Grid, decomposed
from segcompass.stats.families import holm
from tests.stats.simulated import World, linearised

STUDIES = 1500
WORLDS = [
    World(STUDIES, 3, 100, seed_sd=1.0, image_sd=35.0, interaction_sd=20.0, sentence_sd=12.0),
    World(STUDIES, 3, 150, seed_sd=2.0, image_sd=30.0, interaction_sd=15.0, sentence_sd=12.0),
    World(STUDIES, 3, 300, seed_sd=3.0, image_sd=25.0, interaction_sd=10.0, sentence_sd=12.0),
    World(STUDIES, 5, 100, seed_sd=1.0, image_sd=35.0, interaction_sd=20.0, sentence_sd=12.0),
    World(STUDIES, 5, 150, seed_sd=2.0, image_sd=30.0, interaction_sd=15.0, sentence_sd=12.0),
    World(STUDIES, 5, 300, seed_sd=3.0, image_sd=25.0, interaction_sd=10.0, sentence_sd=12.0),
]
COVERED = {3: (0.946, 0.975), 5: (0.945, 0.966)}
"""Seeds -> range of what 95 % intervals cover, as `segcompass.stats.crossed` says."""
SHARE, GAP = 0.5, 8.0
"""Of a gap of 8 points, half is closed."""


def p_values(statistic: str, world: World, generator: np.random.Generator) -> np.ndarray:
    """[R]: p-values of the truth, so that an interval covers it where p is above 1 - level."""
    sentences = world.sentences(generator)
    weight = sentences * np.exp(generator.normal(0, 1.0, sentences.shape)) if statistic == "ratio of sums" else sentences

    def run(mean: float, hardness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = mean * sentences + world.scores(generator, hardness, world.luck(generator), sentences)
        return linearised(scores * weight / sentences, weight)

    hardness = world.hardness(generator)
    own_hardness = hardness + world.hardness(generator) / 4  # images that are hard for one variant alone
    a, influence = run(0.0, hardness)
    if statistic in ("mean", "ratio of sums"):
        return decomposed([influence]).p(a)
    b, other = run(0.0, own_hardness)
    if statistic == "paired difference":
        return decomposed([influence - other]).p(a - b)
    if statistic == "difference, independent seeds":
        return decomposed([influence, -other]).p(a - b)
    c, gold = run(GAP, hardness)  # a is lifted to half of the gap between b and c
    part, whole = (a + SHARE * GAP - b, influence - other), (c - b, gold - other)
    return decomposed([part[1] - SHARE * whole[1]]).p(part[0] - SHARE * whole[0])


def agrees(rate: float, low: float, high: float) -> bool:
    """Whether a rate over the studies agrees with a true one between low and high."""
    errors = [3.5 * math.sqrt(true * (1 - true) / STUDIES) for true in (low, high)]
    return low - errors[0] <= rate <= high + errors[1]


@pytest.mark.parametrize("statistic", ["mean", "ratio of sums", "paired difference", "difference, independent seeds", "share of a gap"])
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: f"{world.seeds} seeds, {world.images} images, seed sd {world.seed_sd:g}")
def test_intervals_cover_what_they_say_and_p_values_are_uniform(statistic: str, world: World) -> None:
    p = p_values(statistic, world, np.random.default_rng(7))
    low, high = COVERED[world.seeds]
    assert agrees(float((p > 0.05).mean()), low, high)
    assert agrees(float((p > 0.01).mean()), 0.986, 0.998)
    assert np.abs(np.quantile(p, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.04 + 3.5 * math.sqrt(0.25 / STUDIES)


def test_a_family_rarely_stars_what_is_not_there() -> None:
    # Six variants against one reference, on the same images and seeds: six dependent tests, all of them of true hypotheses.
    generator, world = np.random.default_rng(8), WORLDS[1]
    sentences, hardness = world.sentences(generator), world.hardness(generator)
    reference, influence = linearised(world.scores(generator, hardness, world.luck(generator), sentences), sentences)
    p = []
    for _ in range(6):
        other, others = linearised(world.scores(generator, hardness, world.luck(generator), sentences), sentences)
        p.append(decomposed([others - influence]).p(other - reference))
    families = np.array(p).T
    starred = np.array([holm(family).min() <= 0.05 for family in families]).mean()
    uncorrected = (families.min(1) <= 0.05).mean()
    assert agrees(float(starred), 0.005, 0.05) and uncorrected > 0.1, "without the correction a star in ten families is false"


def test_one_study_by_the_public_path_is_one_of_the_simulated() -> None:
    world, generator = World(3, 4, 20, 2.0, 30.0, 15.0, 12.0), np.random.default_rng(9)
    sentences = np.ones((3, 1, 20))
    scores = world.scores(generator, world.hardness(generator), world.luck(generator), sentences)
    value, influence = linearised(scores, sentences)
    p = decomposed([influence]).p(value)
    for study in range(3):
        found = Grid(np.arange(20)).mean(scores[study], "runs").estimate(0.95)
        assert (found.value, found.p) == (pytest.approx(value[study]), pytest.approx(p[study]))
