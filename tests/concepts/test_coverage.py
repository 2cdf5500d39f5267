"""Coverage of drawings with known answers, for one share of the tokens and as curves of a dictionary."""

import numpy as np
import pytest
from scipy import sparse

from segcompass.concepts.coverage import covered_shares, pixels_under
from segcompass.concepts.coverage_curves import coverage_curves, random_shares, targets
from tests.concepts.drawn import BOXES, drawn_tokens


def test_pixels_under_tokens() -> None:
    mask = np.zeros((4, 4), bool)
    mask[0, :3] = True
    pixels, area = pixels_under(BOXES, mask)
    assert pixels.tolist() == [2, 1, 0, 0, 0] and area.tolist() == [4, 4, 4, 4, 0]


def test_pixels_are_counted_where_tokens_overlap_the_edge() -> None:
    generator = np.random.default_rng(1)
    mask = generator.random((9, 13)) < 0.5
    corners = np.sort(generator.integers(0, 15, (50, 2, 2)), 1).reshape(50, 4).astype(float)  # (x0, y0, x1, y1), some beyond the edge
    expected = [int(mask[int(y0) : int(y1), int(x0) : int(x1)].sum()) for x0, y0, x1, y1 in corners]
    assert pixels_under(corners, mask)[0].tolist() == expected and max(expected) > 20


def coverage(scores: np.ndarray, target: np.ndarray, fraction: float) -> tuple[float, float]:
    covered, expected = covered_shares(scores, *pixels_under(BOXES, target), (fraction,))
    return float(covered[0]), float(expected[0])


def test_coverage_counts_target_pixels_under_the_best_tokens() -> None:
    target = np.zeros((4, 4), bool)
    target[0, :3] = True  # 2 pixels under token 0, 1 under token 1
    assert coverage(np.array([5.0, 1, 2, 3, 99]), target, 0.25) == (pytest.approx(2 / 3), 0.25)
    assert coverage(np.array([5.0, 6, 2, 3, 99]), target, 0.5) == (pytest.approx(1.0), 0.5)


def test_random_coverage_is_the_expectation() -> None:
    generator = np.random.default_rng(0)
    target = generator.random((4, 4)) < 0.4
    drawn = [coverage(generator.random(5), target, 0.25) for _ in range(4000)]
    assert np.mean([covered for covered, _ in drawn]) == pytest.approx(drawn[0][1], abs=0.02)


def test_tokens_that_score_the_same_share_their_expectation() -> None:
    pixels, area = np.array([6, 0, 2, 0]), np.ones(4)
    covered, expected = covered_shares(np.array([0.0, 0, 9, 0]), pixels, area, (0.25, 0.5, 1.0))
    assert covered == pytest.approx([0.25, 0.25 + 0.25, 1.0]) and expected.tolist() == [0.25, 0.5, 1.0]


def test_curves_follow_the_thoughts_concept_and_their_twins_do_not() -> None:
    tokens = drawn_tokens(images=40)
    codes = np.zeros((len(tokens.hidden), 2))
    on_target = (tokens.token_type == 0) & tokens.instance
    codes[on_target, 0] = 1.0  # concept 0: the target, and every thought
    codes[tokens.token_type == 2, 0] = 1.0
    codes[(tokens.token_type == 0) & ~tokens.instance, 1] = 3.0  # concept 1: stronger, on everything else
    chosen = targets(tokens)
    assert len(chosen) == 40
    curves = coverage_curves(tokens, sparse.csr_matrix(codes), chosen, (0.25, 1.0), 0, shuffled=False)
    assert (curves["thought"] == 1.0).all(), "the one token with the target comes first"
    assert (curves["activation"][:, 0] == 0).all() and (curves["activation"][:, 1] == 1).all()
    twins = coverage_curves(tokens, sparse.csr_matrix(codes), chosen, (0.25, 1.0), 0, shuffled=True)
    assert 0 < twins["activation"][:, 0].mean() < 0.5, "permuted tokens"
    assert random_shares(chosen, (0.25, 1.0))[0].tolist() == [0.25, 1.0]
