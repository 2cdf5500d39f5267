"""The causal battery on a model whose truth is known: one planted concept carries the mask, the others do not."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from segcompass.backbone.interface import THOUGHT
from segcompass.causal.attribution import contributions, dense_codes, slot_score
from segcompass.causal.edits import matched_random, top_concepts, zeroed
from segcompass.causal.effects import COLUMNS, effect, summarised
from segcompass.joint.inference import Predictor
from segcompass.joint.model import Segmentation
from segcompass.joint.reading import Reading
from tests.tiny import micro_study, pictures, tiny_joint

PLANTED = 5


class PlantedPredictor:
    """Concept 5 lights the left half of the map; every other concept does nothing."""

    def segment(self, thoughts: SimpleNamespace, codes: torch.Tensor) -> Segmentation:
        left = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(4, 1)
        strength = codes[..., PLANTED].sum(1) - 0.5
        maps = strength[:, None, None, None] * left[None, None]
        return Segmentation(maps, torch.zeros(len(codes), 1), maps)


def planted(samples: int, null: bool = False) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(0)
    codes = torch.rand(samples, 6, 40, generator=generator) * (torch.rand(samples, 6, 40, generator=generator) < 0.4)
    codes[..., PLANTED] = 0.0 if null else 0.3
    types = torch.full((samples, 6), THOUGHT, dtype=torch.uint8)
    reading = Reading(codes, types, types.long(), torch.zeros(samples, 1, 8))
    return SimpleNamespace(reading=reading, codes=codes, valid=torch.ones(samples, 4, 4, dtype=torch.bool))


def run_battery(null: bool) -> pd.DataFrame:
    """Effects of top, random and identity edits; under the null twin the rows' edits are drawn at random."""
    predictor, thoughts = PlantedPredictor(), planted(40)
    contribution = contributions(predictor, thoughts, [[0]] * 40)  # type: ignore[arg-type]
    generator = np.random.default_rng(0)
    target = np.zeros((4, 4), bool)
    target[:, :2] = True
    rows = []
    for index in range(40):
        top = top_concepts(contribution[index], 1)
        if null:
            top = matched_random(thoughts.codes[index], [PLANTED], generator)
        random = matched_random(thoughts.codes[index], top + [PLANTED] * null, generator)[:1]
        for edit, concepts in (("top", top), ("random", random), ("identity", [])):
            edited = zeroed(thoughts.codes[index : index + 1], [concepts])
            before, after = (
                predictor.segment(thoughts, c).mask_logits[0, 0].numpy() > 0 for c in (thoughts.codes[index : index + 1], edited)
            )
            place = {"sample_id": str(index), "image": str(index // 2), "benchmark": "b", "split": "s", "m": 1, "edit": edit}
            rows.append(place | effect(before, after, target))
    return summarised(pd.DataFrame(rows), 300, 0.95, 0)


def contrast(summary: pd.DataFrame, name: str) -> pd.Series:
    return summary[(summary["contrast"] == name) & (summary["outcome"] == "target_iou_change")].iloc[0]


def test_the_planted_concept_is_found_and_its_removal_hurts() -> None:
    summary = run_battery(null=False)
    difference = contrast(summary, "top-random")
    assert difference["high"] < -0.5, "without the planted concept the map flips"
    assert (contrast(summary, "identity")[["mean", "low", "high"]] == 0).all(), "the sham changes nothing, exactly"


def test_the_null_twin_shows_no_effect() -> None:
    difference = contrast(run_battery(null=True), "top-random")
    assert difference["low"] <= 0 <= difference["high"]


def test_contributions_name_the_planted_concept_alone() -> None:
    thoughts = planted(3)
    found = contributions(PlantedPredictor(), thoughts, [[0]] * 3)  # type: ignore[arg-type]
    assert [top_concepts(values, 4) for values in found] == [[PLANTED]] * 3, "concepts without a contribution are no top concepts"
    # Score: mean inside minus mean outside of strength * (+1 | -1) = 2 * strength; contribution of 6 tokens at 0.3: 2 * 1.8.
    assert torch.allclose(found[:, PLANTED], torch.full((3,), 3.6))


def test_slot_score_by_hand() -> None:
    heat, mask = torch.tensor([[[4.0, 2.0, 99.0]]]), torch.tensor([[[1.0, -1.0, 1.0]]])
    valid = torch.tensor([[True, True, False]])
    assert slot_score(heat, mask, valid).tolist() == [4.0 - 2.0]


def test_controls_are_active_unchosen_distinct_and_alike() -> None:
    codes = torch.zeros(8, 6)
    codes[:, 0], codes[:, 1], codes[:1, 2], codes[:, 3] = 1.0, 1.1, 9.0, 0.9  # 4 and 5 are silent
    draws = {tuple(matched_random(codes, [0], np.random.default_rng(seed))) for seed in range(40)}
    assert draws <= {(1,), (2,), (3,)}
    both = matched_random(codes, [0, 1], np.random.default_rng(0))
    assert sorted(both) == [2, 3]
    assert matched_random(codes, [0, 1, 2, 3], np.random.default_rng(0)) == []


def test_zeroing_touches_the_listed_concepts_only() -> None:
    codes = torch.ones(2, 3, 4)
    edited = zeroed(codes, [[1, 2], []])
    assert torch.equal(edited[0], torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(3, 4)) and torch.equal(edited[1], codes[1])


def test_effect_by_hand() -> None:
    before, after, target = (np.array([row]) for row in ([1, 1, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]))
    found = effect(before.astype(bool), after.astype(bool), target.astype(bool))
    assert found == {"iou_before": 1.0, "iou_after": 0.5, "target_iou_change": -0.5, "changed_pixels": 0.5}
    assert set(found) <= set(COLUMNS)


def test_the_sham_edit_leaves_a_real_model_bit_for_bit() -> None:
    predictor = Predictor(tiny_joint().eval(), micro_study().answer.longest, 0.5)
    with torch.no_grad():
        thoughts = predictor.think(pictures(2), ["left red ring", "white disc"])
        before, after = predictor.segment(thoughts), predictor.segment(thoughts, zeroed(dense_codes(thoughts), [[], []]))
    assert torch.equal(before.mask_logits, after.mask_logits) and torch.equal(before.confidence_logits, after.confidence_logits)
    contribution = contributions(predictor, thoughts, [[0], [1]])
    assert contribution.shape == dense_codes(thoughts).shape[::2] and contribution.abs().sum() > 0
    assert thoughts.reading.thought.any()


def test_concepts_that_an_interface_does_not_read_contribute_nothing() -> None:
    """Tokens of the thought, to one that is not shown them; what it does read contributes."""
    settings = micro_study().interface.model.model_copy(update={"thought_codes": False, "reference_state": False})
    predictor = Predictor(tiny_joint(settings).eval(), micro_study().answer.longest, 0.5)
    with torch.no_grad():
        thoughts = predictor.think(pictures(2), ["left red ring", "white disc"])
    codes, thought = dense_codes(thoughts), thoughts.reading.thought[..., None]
    for shown, reads in ((codes * thought, False), (codes * ~thought, True)):
        alone = replace(thoughts, reading=replace(thoughts.reading, codes=shown))
        assert bool(contributions(predictor, alone, [[0], [1]]).abs().sum() > 0) == reads
