"""The card of a backbone is kept part by part."""

import copy
from pathlib import Path
from typing import Any

from segcompass.backbone.card import LOSSES, SAM_SAYS, SECONDS, Card, card_text, merged, part_recipe
from segcompass.backbone.training.scores import sam_score
from segcompass.study.jobs import Job, stage_params
from segcompass.study.load import load_study

PARAMS = stage_params(load_study(Path("params/smoke.yaml")), Job("train_backbone"))
PARTS = ("vlm", "sam", "sam_medium", "sam_small")
CHANGED_BY = {
    ("seed",): PARTS,
    ("vlm", "language", "layers"): ("vlm",),
    ("sam", "channels"): ("sam", "sam_medium", "sam_small"),
    ("smaller_sams", "sam_small", "width"): ("sam_small",),
    ("training", "scenes"): ("vlm",),
    ("training", "habits", "steps"): ("vlm",),
    ("training", "sam_scenes"): ("sam", "sam_medium", "sam_small"),
    ("training", "prompts_per_image"): ("sam", "sam_medium", "sam_small"),
    ("training", "masks", "steps"): ("sam",),
    ("training", "smaller", "together", "steps"): ("sam_medium", "sam_small"),
    ("taken",): (),
    ("folder",): (),
    ("source",): (),
    ("checkpoint_every",): (),
}
"""Key of `backbone` -> parts whose recipe it is part of."""


def with_another(keys: tuple[str, ...]) -> dict[str, Any]:
    params = copy.deepcopy(PARAMS)
    node = params["backbone"]
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = "another"
    return params


def test_a_recipe_holds_the_keys_of_its_part_and_no_other() -> None:
    """Of `sam`, the vision key counts for the largest alone: a smaller SAM has its own."""
    for keys, parts in CHANGED_BY.items():
        other = with_another(keys)
        assert tuple(part for part in PARTS if part_recipe(other, part) != part_recipe(PARAMS, part)) == parts, keys
    other = with_another(("sam", "vision", "layers"))
    assert [part for part in PARTS if part_recipe(other, part) != part_recipe(PARAMS, part)] == ["sam"]


def test_every_key_of_the_recipe_belongs_to_some_part() -> None:
    told = {key for part in PARTS for key in part_recipe(PARAMS, part)["training"]}
    assert told == set(PARAMS["backbone"]["training"])


def entry(part: str, share: float) -> dict[str, Any]:
    scores = {"answer_valid": share} if part == "vlm" else {sam_score(score, part): share for score in SAM_SAYS}
    phase = f"{part}_phase"
    return {
        "recipe": part_recipe(PARAMS, part),
        "commit": f"commit of {part}",
        SECONDS: {phase: 7.4},
        "steps": {phase: 1200},
        LOSSES: {phase: {"total": 0.25}},
        "scores": scores,
    }


def test_a_new_entry_replaces_its_own_and_no_other() -> None:
    card: Card = {part: entry(part, 0.5) for part in ("vlm", "sam", "sam_medium")}
    found = merged(card, {"sam_small": entry("sam_small", 0.25), "sam": entry("sam", 0.75)})
    assert list(found) == ["vlm", "sam", "sam_medium", "sam_small"]
    assert found["vlm"] is card["vlm"] and found["sam_medium"] is card["sam_medium"]
    assert found["sam"]["scores"]["mask_iou"] == 0.75
    assert list(merged({"sam": entry("sam", 0.5)}, {"vlm": entry("vlm", 0.5)})) == ["vlm", "sam"]


def test_the_page_shows_the_sams_side_by_side_and_each_part_with_its_commit() -> None:
    card: Card = {part: entry(part, share) for part, share in zip(PARTS, (0.5, 0.875, 0.75, 0.625), strict=True)}
    lines = card_text(card).splitlines()
    assert "| SAM, held-out scenes | `sam` | `sam_medium` | `sam_small` |" in lines
    assert "| IoU of the mask from a blurred, noisy mask prompt | 87.5 % | 75.0 % | 62.5 % |" in lines
    assert "| image encoder, layers x width | 2 x 48 | 1 x 48 | 1 x 32 |" in lines
    assert "| answers that keep the form | 50.0 % |" in lines
    assert "| `sam_small` | sam_small_phase | 1,200 | 7 | 0.250 |" in lines
    assert "| `sam_medium` | commit of sam_medium | 0 | 1 |" in lines
