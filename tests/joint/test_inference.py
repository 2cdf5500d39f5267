"""Thoughts that are given instead of generated, and what a record says of the masks that they lead to."""

import math

import numpy as np
import pytest
import torch

from segcompass.backbone.instruction import TOO_LONG, UNKNOWN
from segcompass.datasets.masks import encode
from segcompass.datasets.samples import Sample
from segcompass.joint.inference import Prediction, Predictor
from segcompass.joint.scores import oracle_thought_columns
from segcompass.world.thoughts import thought_is_right
from tests.arithmetic import same_sums
from tests.tiny import SLOTS, micro_study, pictures, tiny_joint

pytestmark = pytest.mark.numerical

TEXTS = ["left red ring", "the large white disc"]
GOLD = ["target : small red plain disc at top left", "target : no such object"]


def sample(no_target: bool = False) -> Sample:
    """Of two rows and four columns, the upper row the target."""
    target = np.zeros((2, 4), bool)
    target[0] = not no_target
    return Sample("s", "i.jpg", 2, 4, "x", no_target, encode(target), None, () if no_target else (encode(target),))


def prediction(confidences: list[float]) -> Prediction:
    """Slot 0 has the left half, slot 1 everything; confident from one half on."""
    masks = np.zeros((2, 2, 4), bool)
    masks[0, :, :2], masks[1] = True, True
    return Prediction("ok", np.array(confidences), tuple(np.flatnonzero(np.array(confidences) >= 0.5)), masks)


def test_a_given_thought_is_what_the_interface_reads() -> None:
    predictor = Predictor(tiny_joint().eval(), micro_study().answer.longest, 0.5)
    own = predictor.think(pictures(2), TEXTS)
    given = predictor.read(pictures(2), TEXTS, GOLD)
    assert given.status == ["ok", "ok"] and all(thought_is_right(text, gold) for text, gold in zip(given.texts, GOLD, strict=True))
    states = [thoughts.reading.reference_states for thoughts in (given, own)]
    assert states[0].shape == states[1].shape == (2, SLOTS, predictor.model.vlm.hidden_width)
    assert torch.equal(given.embeddings, own.embeddings) and given.texts == [predictor.written(gold) for gold in GOLD]
    with torch.no_grad():
        assert not torch.allclose(predictor.segment(given).heat, predictor.segment(own).heat)


def test_words_lead_to_the_same_masks_whether_they_are_generated_or_read(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(tiny_joint().eval(), micro_study().answer.longest, 0.5)
    vlm = predictor.model.vlm
    written = [vlm.answer_ids(gold) for gold in GOLD]
    steps = iter(zip(*[ids + [vlm.pad_id] * (max(map(len, written)) - len(ids)) for ids in written], strict=True))
    # The sampled tokens are those of the gold answers; everything else of sampling stays as it is.
    monkeypatch.setattr(
        vlm, "_draw", lambda last, running, *rest: (torch.tensor(next(steps))[running.rollouts], torch.zeros(running.rollouts.shape))
    )
    predictor.longest = max(map(len, written))
    own, read = predictor.think(pictures(2), TEXTS), predictor.read(pictures(2), TEXTS, GOLD)
    assert own.texts == read.texts and own.status == read.status
    with torch.no_grad():
        assert same_sums(predictor.segment(own).mask_logits, predictor.segment(read).mask_logits, terms=64, layers=4)


def test_instructions_that_cannot_be_read_are_failed_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a generated and under a given thought, beside one that can be read; whatever they spell, none is an error."""
    predictor = Predictor(tiny_joint().eval(), micro_study().answer.longest, 0.01)
    monkeypatch.setattr(predictor.model.vlm, "longest_answer", predictor.longest)
    texts = ["left red ring", "red <image> ring", "ring " * 2000, "<image> <REF_POS>", "\x00\r\u200b"]
    expected = ["ok", "ok", TOO_LONG, UNKNOWN, UNKNOWN]
    assert [reading.status for reading in predictor.readings(pictures(5), texts)] == expected
    own, given = predictor.think(pictures(5), texts), predictor.read(pictures(5), texts, [GOLD[0]] * 5)
    assert given.status == expected and own.status[2:] == expected[2:]
    with torch.no_grad():
        found = predictor.predictions(given, predictor.segment(given))
    assert all(prediction.slots for prediction in found), "at so low a threshold every slot is confident"
    assert [bool(prediction.mask.any()) for prediction in found[2:]] == [False] * 3 and not any(one.no_target for one in found)
    alone = predictor.read(pictures(5)[:1], texts[:1], GOLD[:1])
    with torch.no_grad():
        assert torch.allclose(predictor.segment(alone).mask_logits[0], predictor.segment(given).mask_logits[0], atol=1e-3)


@pytest.mark.parametrize(
    ("benchmark", "confidences", "expected"),
    [
        ("refcoco", [0.9, 0.1], (2, 6, 2 / 6, 0)),  # four predicted pixels, two of the target's four
        ("grefcoco", [0.9, 0.9], (4, 8, 0.5, 0)),
        ("grefcoco", [0.1, 0.1], (0, 4, 0.0, 1)),
    ],
)
def test_scores_under_the_gold_thought_by_hand(benchmark: str, confidences: list[float], expected: tuple[float, ...]) -> None:
    found = oracle_thought_columns(benchmark, sample(), prediction(confidences))
    assert list(found.values()) == pytest.approx(list(expected)) and not math.isnan(found["oracle_thought_iou"])


def test_the_decision_under_the_gold_thought_counts_and_its_absence_leaves_the_cells_empty() -> None:
    right, wrong = (oracle_thought_columns("grefcoco", sample(True), prediction(c)) for c in ([0.1, 0.1], [0.9, 0.1]))
    assert (right["oracle_thought_iou"], wrong["oracle_thought_iou"], wrong["oracle_thought_union"]) == (1.0, 0.0, 4)
    assert set(oracle_thought_columns("refcoco", sample(), None).values()) == {""}
