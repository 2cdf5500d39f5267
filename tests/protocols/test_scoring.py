"""Protocols on hand-drawn masks, every row of the GRES table, and agreement with a dense computation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcompass.datasets.masks import Rle, empty, encode
from segcompass.protocols.no_target import confident_slots, counts
from segcompass.protocols.scoring import PROTOCOLS, metric_terms, score_sample, summarise


def rle(*rows: str) -> Rle:
    """A mask drawn with `#`."""
    return encode(np.array([[mark == "#" for mark in row] for row in rows]))


TRUTH = rle("##..", "##..")  # 4 pixels
HALF = rle("#...", "#...")  # 2 pixels, all in the truth
BESIDE = rle(".##.", ".##.")  # 4 pixels, 2 in the truth
NOTHING = empty(2, 4)


def scored(protocol: str, target: Rle, prediction: Rle | None, no_target: bool = False, rejected: bool = False, ignore: Rle | None = None):
    score = score_sample(protocol, target, ignore, no_target, prediction, rejected)
    return score.intersection, score.union, score.iou


def test_pixels_by_hand() -> None:
    assert scored("refcoco", TRUTH, HALF) == (2, 4, 0.5)
    assert scored("refcoco", TRUTH, BESIDE) == (2, 6, 1 / 3)
    assert scored("refcoco", TRUTH, None) == (0, 4, 0.0)
    assert scored("refcoco", NOTHING, NOTHING) == (0, 0, 1.0)
    assert scored("refcoco", NOTHING, HALF) == (0, 2, 0.0)


def test_every_row_of_the_gres_table() -> None:
    assert scored("gres", NOTHING, NOTHING, no_target=True, rejected=True) == (0, 0, 1.0)
    assert scored("gres", NOTHING, HALF, no_target=True) == (0, 2, 0.0)
    assert scored("gres", TRUTH, None, rejected=True) == (0, 4, 0.0)
    assert scored("gres", TRUTH, BESIDE) == (2, 6, 1 / 3)
    # The decision counts, not the pixels: an accepted expression with an empty mask is no correct rejection.
    assert scored("gres", NOTHING, NOTHING, no_target=True) == (0, 0, 0.0)
    # And a rejection with pixels left adds the union of prediction and truth.
    assert scored("gres", TRUTH, BESIDE, rejected=True) == (0, 6, 0.0)


def test_gsva_scores_a_wrong_rejection_by_its_pixels() -> None:
    assert scored("gsva", TRUTH, BESIDE, rejected=True) == (2, 6, 1 / 3)
    assert scored("gsva", NOTHING, HALF, no_target=True) == (0, 2, 0.0)
    assert scored("gsva", NOTHING, HALF, no_target=True, rejected=True) == (0, 0, 1.0)


def test_reasonseg_conventions_differ_on_an_ignore_region() -> None:
    ignore = rle("..#.", "..#.")  # 2 pixels beside the truth; BESIDE covers both
    # lisa: the two ignored pixels leave the prediction, so 2 of (2 + 4 - 2).
    assert scored("reasonseg_lisa", TRUTH, BESIDE, ignore=ignore) == (2, 4, 0.5)
    # seg_zero: truth grows to 6 pixels, all 4 predicted ones are in it.
    assert scored("reasonseg_seg_zero", TRUTH, BESIDE, ignore=ignore) == (4, 6, 4 / 6)
    # lisa, nothing but ignored pixels predicted on an empty truth: U is 0, which counts as 1.
    assert scored("reasonseg_lisa", NOTHING, ignore, ignore=ignore) == (0, 0, 1.0)


def test_metrics_by_hand() -> None:
    columns = {
        "intersection": [2, 0, 0, 4],
        "union": [4, 2, 4, 4],
        "iou": [0.5, 0.0, 0.0, 1.0],
        "truth_area": [4, 0, 4, 4],
        "no_target": [0, 1, 0, 0],
        "predicted_no_target": [0, 0, 1, 0],
    }
    found = summarise(columns, "gres")
    assert found["n"] == 4
    assert found["gIoU"] == pytest.approx(1.5 / 4)
    assert found["cIoU"] == pytest.approx(6 / 14)
    # Of three expressions with a target: IoU 0.5 reaches 0.5, only 1.0 reaches 0.6.
    assert (found["Pr@0.5"], found["Pr@0.6"]) == pytest.approx((2 / 3, 1 / 3))
    assert (found["N-acc"], found["T-acc"]) == pytest.approx((0.0, 2 / 3))
    assert "N-acc" not in summarise(columns, "refcoco")
    assert np.isnan(summarise({**columns, "no_target": [0] * 4}, "gres")["N-acc"])


def test_the_decision_is_about_confidences() -> None:
    assert confident_slots([0.49, 0.1], 0.5) == confident_slots([], 0.5) == ()
    assert confident_slots([0.5, 0.1, 0.9], 0.5) == (0, 2)
    assert counts("refcoco", 1, 2, 1, False, True) == (1, 2, 0.5), "other protocols do not read it"


def dense(protocol: str, truth: np.ndarray, ignore: np.ndarray, prediction: np.ndarray, no_target: bool, rejected: bool):
    """The same scores pixel by pixel, written from formats.md."""
    if protocol == "reasonseg_seg_zero":
        truth = truth | ignore
    if protocol == "reasonseg_lisa":
        prediction = prediction & ~ignore
    intersection, union = int((truth & prediction).sum()), int((truth | prediction).sum())
    if protocol in ("gres", "gsva") and no_target:
        return (0, 0, 1.0) if rejected else (0, int(prediction.sum()), 0.0)
    if protocol == "gres" and rejected:
        return 0, union, 0.0
    return intersection, union, intersection / union if union else 1.0


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(PROTOCOLS), st.booleans(), st.booleans())
def test_rle_and_dense_agree(seed: int, protocol: str, no_target: bool, rejected: bool) -> None:
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 12, 2))
    prediction, truth, ignore = (generator.random(shape) < generator.choice([0.0, 0.3, 1.0]) for _ in range(3))
    truth = truth & ~no_target & ~ignore
    score = score_sample(protocol, encode(truth), encode(ignore), no_target, encode(prediction), rejected)
    if not protocol.startswith("reasonseg"):
        ignore = np.zeros(shape, bool)
    assert (score.intersection, score.union, score.iou) == pytest.approx(dense(protocol, truth, ignore, prediction, no_target, rejected))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["refcoco", "gres", "gsva"]))
def test_split_metrics_agree_with_a_dense_computation(seed: int, protocol: str) -> None:
    generator = np.random.default_rng(seed)
    scores, expected = [], []
    for _ in range(8):
        truth, prediction = (generator.random((5, 7)) < generator.choice([0.0, 0.4, 1.0]) for _ in range(2))
        no_target, rejected = not truth.any(), bool(generator.random() < 0.3)
        scores.append(score_sample(protocol, encode(truth), None, no_target, encode(prediction), rejected))
        expected.append(dense(protocol, truth, np.zeros_like(truth), prediction, no_target, rejected))
    columns = {name: [getattr(score, name) for score in scores] for name in vars(scores[0])}
    found = summarise(columns, protocol)
    i, u, iou = (np.array(part, float) for part in zip(*expected, strict=True))
    assert found["gIoU"] == pytest.approx(iou.mean(), abs=1e-12)
    assert found["cIoU"] == pytest.approx(i.sum() / u.sum(), abs=1e-12) if u.sum() else np.isnan(found["cIoU"])


@given(st.permutations(range(6)))
def test_metrics_do_not_depend_on_the_order(order: list[int]) -> None:
    generator = np.random.default_rng(0)
    columns = {name: generator.integers(1, 9, 6) for name in ("intersection", "union", "truth_area")}
    columns |= {"iou": generator.random(6), "no_target": np.array([0, 1] * 3), "predicted_no_target": np.array([0, 0, 1] * 2)}
    shuffled = {name: values[list(order)] for name, values in columns.items()}
    assert summarise(columns, "gres") == pytest.approx(summarise(shuffled, "gres"))
    for numerator, denominator in metric_terms(columns, "gres").values():
        assert numerator.shape == denominator.shape == (6,)
