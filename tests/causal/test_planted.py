"""Every intervention on an interface whose answer is known: it returns that answer, its control nothing, its sham exactly nothing."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch

from segcompass.causal.attribution import attribution
from segcompass.causal.chunk import Found
from segcompass.causal.composition import composition
from segcompass.causal.curve import curve
from segcompass.causal.dose import dose
from segcompass.causal.edits import Mean, MeanCodes, Resample, Zero
from segcompass.causal.sham import sham
from segcompass.causal.tally import Tally
from segcompass.causal.traceability import traceability
from tests.causal.planted import FEATURES, PLANTED, World, drawn_codes, rows_of, world

SAMPLES = 12
CLOSE = {"atol": 2e-4, "rtol": 1e-4}
"""Sums of some hundred products of float32."""


def found(measures: Iterable[Found]) -> dict[tuple[str, str, str], np.ndarray]:
    listed = list(measures)
    assert len({one[:3] for one in listed}) == len(listed), "each measure once"
    return {(one.arm, one.at, one.measure): one.values for one in listed}


@pytest.fixture(scope="module")
def planted() -> World:
    return world(drawn_codes(SAMPLES), rows_of(PLANTED))


def shares(codes: torch.Tensor) -> dict[int, np.ndarray]:
    """2 * code * weight of each planted concept, summed over tokens."""
    return {concept: 2 * weight * codes[..., concept].sum(1).numpy() for concept, weight in PLANTED.items()}


def test_the_score_is_twice_the_strength(planted: World) -> None:
    total = sum(shares(planted.codes).values())
    np.testing.assert_allclose(planted.chunk.score, total - 1.0, **CLOSE)


def test_a_curve_rises_with_the_planted_concepts_and_with_no_other(planted: World) -> None:
    """Of some 40 active concepts 1 / 40 is one and 2 / 40 two: the first adds its own share, both add all; others nothing."""
    fractions = [1 / FEATURES, 2 / FEATURES]
    part = shares(planted.codes)
    first, total = np.maximum(part[3], part[7]), part[3] + part[7]
    rows = curve(planted.chunk, planted.units, planted.weights, "zero", Zero(planted.rows), fractions, fractions, Tally("curve"))
    seen = found(rows)
    np.testing.assert_allclose(seen["all", "", "score"], total - 1, **CLOSE)
    np.testing.assert_allclose(seen["none_zero", "", "score"], -1.0, **CLOSE)
    one, two = (f"{fraction:g}" for fraction in fractions)
    np.testing.assert_allclose(seen["top_zero", one, "kept_score"], first - 1, **CLOSE)
    np.testing.assert_allclose(seen["top_zero", one, "removed_score"], total - first - 1, **CLOSE)
    np.testing.assert_allclose(seen["top_zero", two, "kept_score"], total - 1, **CLOSE)
    np.testing.assert_allclose(seen["top_zero", two, "removed_score"], -1.0, **CLOSE)
    assert (seen["top_zero", two, "removed_iou"] == 0).all() and (seen["top_zero", two, "kept_iou"] == 1).all()
    # At two concepts no planted one is left for the control; a direction's effect is as often up as down.
    np.testing.assert_allclose(seen["matched_zero", two, "removed_score"], total - 1, **CLOSE)
    np.testing.assert_allclose(seen["matched_zero", two, "kept_score"], -1.0, **CLOSE)
    assert (seen["matched_zero", two, "removed_iou"] == 1).all()


def test_mean_and_resample_put_the_baseline_in_the_place_of_what_is_removed(planted: World) -> None:
    """Everything at the mean of two other samples, or at the codes of one: its score is that of their planted concepts."""
    others = world(drawn_codes(SAMPLES, seed=1), planted.rows)
    means = MeanCodes(FEATURES)
    means.add(others.samples)
    at_mean = sum(values.mean() for values in shares(others.codes).values()) - 1
    baselines = {
        "mean": (Mean(means.means(), planted.rows, planted.samples), np.full(SAMPLES, at_mean)),
        "resample": (Resample(others.samples, planted.rows, planted.samples), sum(shares(others.codes).values()) - 1),
    }
    for name, (baseline, none) in baselines.items():
        rows = curve(planted.chunk, planted.units, planted.weights, name, baseline, [2 / FEATURES], [], Tally("curve"))
        seen = found(rows)
        assert ("all", "", "score") not in seen, "it stands under zero"
        np.testing.assert_allclose(seen[f"none_{name}", "", "score"], none, **CLOSE)
        at = f"{2 / FEATURES:g}"
        np.testing.assert_allclose(seen[f"top_{name}", at, "removed_score"], none, **CLOSE)
        np.testing.assert_allclose(seen[f"top_{name}", at, "kept_score"], planted.chunk.score, **CLOSE)
        np.testing.assert_allclose(seen[f"matched_{name}", at, "removed_score"], planted.chunk.score, **CLOSE)


def test_a_dose_multiplies_what_the_planted_concepts_add(planted: World) -> None:
    seen = found(dose(planted.chunk, planted.units, planted.weights, 2, [0.0, 1.0, 3.0], Tally("dose")))
    total = sum(shares(planted.codes).values())
    for factor in (0.0, 1.0, 3.0):
        np.testing.assert_allclose(seen["top", f"{factor:g}", "score"], factor * total - 1, **CLOSE)
        np.testing.assert_allclose(seen["matched", f"{factor:g}", "score"], total - 1, **CLOSE)
    assert (seen["top", "", "monotone"] == 1).all() and (seen["matched", "", "monotone"] == 0).all()
    np.testing.assert_allclose(seen["top", "", "rise"], 3 * total, **CLOSE)
    assert (seen["matched", "", "rise"] == 0).all()


def test_effects_that_add_up_do_not_interact(planted: World) -> None:
    seen = found(composition(planted.chunk, planted.units, planted.weights, Tally("composition")))
    part = shares(planted.codes)
    np.testing.assert_allclose(seen["top", "", "effect_a"], np.maximum(part[3], part[7]), **CLOSE)
    np.testing.assert_allclose(seen["top", "", "effect_b"], np.minimum(part[3], part[7]), **CLOSE)
    np.testing.assert_allclose(seen["top", "", "effect_both"], part[3] + part[7], **CLOSE)
    for arm in ("top", "matched", "direction"):
        np.testing.assert_allclose(seen[arm, "", "interaction"], 0.0, atol=5e-4)
    assert (seen["matched", "", "effect_both"] == 0).all()


def test_two_concepts_that_need_each_other_interact() -> None:
    """Score 2 a b: without a, without b and without both it falls by all of it, so the interaction is its negative."""
    rows = rows_of({3: 1.0}) + rows_of({7: 1.0}, column=1)
    product = world(drawn_codes(SAMPLES), rows, product=True)
    seen = found(composition(product.chunk, product.units, product.weights, Tally("composition")))
    score = 2 * product.codes[..., 3].sum(1) * product.codes[..., 7].sum(1)
    np.testing.assert_allclose(seen["top", "", "effect_a"], score, rtol=1e-4)
    np.testing.assert_allclose(seen["top", "", "interaction"], -score, rtol=1e-4)
    np.testing.assert_allclose(seen["matched", "", "interaction"], 0.0, atol=1e-3)


def test_attribution_tells_the_truth_of_a_linear_score_and_permuted_attribution_does_not() -> None:
    generator = np.random.default_rng(0)
    weights = {concept: abs(float(generator.normal())) / 50 for concept in range(FEATURES)}
    many = world(drawn_codes(60, seed=2), rows_of(weights))
    seen = found(attribution(many.chunk, many.units, FEATURES, 3, True))
    for arm in ("gradient", "integrated"):
        np.testing.assert_allclose(seen[arm, "", "rank_correlation"], 1.0, atol=2e-3)
        np.testing.assert_allclose(seen[arm, "", "total"], seen[arm, "", "difference"], atol=2e-3)
        assert (seen[arm, "", "completeness_residual"] < 2e-2).mean() > 0.9
    np.testing.assert_allclose(seen["gradient", "", "rank_correlation_mask"], 1.0, atol=2e-3)
    # Means of 60 permutations of some 36 concepts: standard deviation 1 / sqrt(60 * 35) = 0.02.
    assert abs(seen["permuted", "", "rank_correlation"].mean()) < 0.09
    assert abs(seen["permuted", "", "rank_correlation_mask"].mean()) < 0.09


def test_integrated_gradients_are_complete_where_gradients_are_not() -> None:
    """Score 2 a b along the line: the gradient at its end counts a b twice, the midpoint rule integrates it exactly."""
    rows = rows_of({3: 1.0}) + rows_of({7: 1.0}, column=1)
    product = world(drawn_codes(SAMPLES), rows, product=True)
    seen = found(attribution(product.chunk, product.units, FEATURES, 1, False))
    np.testing.assert_allclose(seen["gradient", "", "completeness_residual"], 1.0, atol=1e-3)
    np.testing.assert_allclose(seen["integrated", "", "completeness_residual"], 0.0, atol=1e-3)
    assert ("gradient", "", "rank_correlation_mask") not in seen


def test_what_is_listed_predicts_what_is_observed(planted: World) -> None:
    seen = found(traceability(planted.chunk, 6, [1, 2, 6], 2))
    part = shares(planted.codes)
    np.testing.assert_allclose(seen["whole", "", "score"], planted.chunk.score, **CLOSE)
    np.testing.assert_allclose(seen["top", "1", "observed"], np.maximum(part[3], part[7]), **CLOSE)
    for arm, at in (("top", "1"), ("top", "2"), ("top", "6"), ("half", "")):
        for predicted, observed in (("predicted", "observed"), ("predicted_integrated", "observed"), ("predicted_mask", "observed_mask")):
            np.testing.assert_allclose(seen[arm, at, predicted], seen[arm, at, observed], **CLOSE)
    observed = seen["top", "2", "observed"]
    error, spread = ((values**2).sum() for values in (observed - seen["top", "2", "predicted_permuted"], observed - observed.mean()))
    assert error > spread, "permuted contributions predict worse than the mean"


def test_the_sham_is_exactly_nothing(planted: World) -> None:
    for values in found(sham(planted.chunk)).values():
        assert values.tolist() == [0.0] * SAMPLES
