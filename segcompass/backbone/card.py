"""The card of a shipped backbone: how each part was made, what it can do, and the page that shows it.

Parts are trained one by one, at different commits, so each has an entry of its own; a newly shipped part replaces its entry and no other.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcompass.errors import InputError

if TYPE_CHECKING:  # digests of files are asked for by commands that make no tables
    import pandas as pd

Card = dict[str, dict[str, Any]]
"""Part (`vlm`, `sam`, a smaller SAM's name) -> its entry."""

SAYS = {
    "caption_recall": "objects of the scene that captions name with right size, colour, shape and place",
    "caption_precision": "named objects that are there",
    "thought_right_refcoco": "RefCOCO thoughts that end in the right target and place",
    "thought_right_refcoco+": "RefCOCO+ (appearance only)",
    "thought_right_refcocog": "RefCOCOg (relations)",
    "thought_right_grefcoco_several": "gRefCOCO, several targets, the set exactly right",
    "thought_right_grefcoco_none": "gRefCOCO, expressions that fit nothing recognised",
    "thought_right_reasonseg": "ReasonSeg, zero-shot: things that no picture's text named",
    "thought_right_implicit": "the same wording with things that the text named",
    "facts_recalled": "facts recalled word for word",
    "answer_valid": "answers that keep the form",
    "greedy_wrong_one_sample_right": "room for reinforcement learning: greedy thought wrong, one of 8 sampled ones right, of all prompts",
    "reference_probe_place": "linear probe of the first reference token's last state: the target's place",
    "reference_probe_shape": "the same, its shape",
    "reference_probe_colour": "the same, its colour",
    "reference_probe_size": "the same, its size",
    "reference_probe_pattern": "the same, its pattern",
}
"""Score of the vision-language model -> what it is the share of; scores that are not listed stand under their names."""
SAM_SAYS = {
    "embedding_probe_place": "linear probe of the embedding of a cell on an object: the object's place",
    "embedding_probe_shape": "the same, its shape",
    "embedding_probe_colour": "the same, its colour",
    "embedding_probe_size": "the same, its size",
    "embedding_probe_pattern": "the same, its pattern",
    "mask_iou": "IoU of the mask from a blurred, noisy mask prompt",
}
"""Score of a SAM, without its name -> what it is the share of."""
GATE_SAYS = {
    "greedy_right": "gate A: greedy thoughts that are right",
    "pass_at_8": "gate A: one of 8 sampled thoughts is right",
    "mixed_groups": "groups of 8 sampled thoughts with right and wrong ones",
    "sampled_form_broken": "sampled answers that break the form",
    "sampled_considered": "sampled thoughts that consider before they name a target",
    "sampled_right_if_considered": "of these, right ones",
    "sampled_right_if_hasty": "of the hasty ones, right ones",
    "greedy_considered": "greedy thoughts that consider",
    "mask_reward_right": "mask reward of right thoughts, in groups that have both",
    "mask_reward_wrong": "mask reward of wrong thoughts in the same groups",
    "mask_reward_gap": "gate A: their difference",
    "fine_tuning_before": "gate B: greedy thoughts right before fine-tuning the trained blocks on gold thoughts",
    "fine_tuning_after": "gate B: after it",
    "fine_tuning_gain": "gate B: gain",
}
"""Measure of `segcompass gates` -> what it is; those of a benchmark stand under their names."""
LAST = 100
"""Steps over whose mean a phase's final losses are reported."""
SECONDS, LOSSES = "seconds of each phase", f"mean losses of the last {LAST} steps"
VLM_KEYS = ("scenes", "vision", "projector", "language", "habits", "segments_per_image", "caption_share")
SAM_KEYS = ("sam_scenes", "encoder", "masks", "together", "prompts_per_image")
SMALLER_KEYS = ("sam_scenes", "smaller", "prompts_per_image")
"""Keys of `backbone.training` that each kind of part is trained by."""


def part_recipe(params: dict[str, Any], part: str) -> dict[str, Any]:
    """The keys of the study that one part depends on, and no other; `params` are those of the stage."""
    backbone = params["backbone"]
    training = backbone["training"]
    recipe = {"seed": backbone["seed"], "threads": params["threads"], "data": params["data"]}
    if part == "vlm":
        return recipe | {"answer": params["answer"], "sizes": backbone["vlm"], "training": {key: training[key] for key in VLM_KEYS}}
    if part == "sam":
        return recipe | {"sizes": backbone["sam"], "training": {key: training[key] for key in SAM_KEYS}}
    sizes = backbone["sam"] | {"vision": backbone["smaller_sams"][part]}
    return recipe | {"sizes": sizes, "training": {key: training[key] for key in SMALLER_KEYS}}


def part_entry(record: dict[str, Any], curves: "pd.DataFrame", artefact: Path, part: str) -> dict[str, Any]:
    """What the card says of a part that an artefact of `train_backbone` has trained.

    Args:
        record: the artefact's `run.json`.
        curves: its `curves.csv`.
        artefact: its folder.
        part: `vlm` or a SAM's name.

    Returns:
        Recipe, commit, digest of the code, seconds, steps and final losses of each phase, scores, versions, the digest of every file; of a
        smaller SAM also that of the weights of `sam` that it began from.
    """
    facts = record["facts"]["parts"][part]
    own = curves[curves["phase"].isin(list(facts["phase_seconds"]))]
    last = own.groupby("phase", sort=False).tail(LAST).groupby("phase", sort=False)
    entry = {
        "recipe": part_recipe(record["params"], part),
        "commit": record["commit"],
        "code": record["code"],
        SECONDS: facts["phase_seconds"],
        "steps": {str(phase): int(count) for phase, count in own.groupby("phase", sort=False).size().items()},
        LOSSES: {str(phase): rows.drop(columns=["phase", "step"]).mean().dropna().round(5).to_dict() for phase, rows in last},
        "scores": facts["scores"],
        "versions": record["versions"],
        "files": file_digests(artefact / part),
    }
    return entry if part in ("vlm", "sam") else entry | {"begun from": file_digests(artefact / "sam")["model.safetensors"]}


def merged(card: Card, entries: Card) -> Card:
    """A card with the entries of newly shipped parts in the place of their old ones; `vlm` and the largest SAM come first."""
    whole = card | entries
    return {part: whole[part] for part in sorted(whole, key=lambda part: ("vlm", "sam", part).index(part))}


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a part's folder, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def card_text(card: Card) -> str:
    """The card as Markdown."""
    from segcompass.backbone.training.scores import sam_score  # with all of training

    sams = [part for part in card if part != "vlm"]
    scores = card["vlm"]["scores"]
    shown = [name for name in SAYS if name in scores]
    says = [*shown, *sorted(set(scores) - set(shown))]
    return "\n".join(
        [
            "# Embedded backbone",
            "",
            "A small `LlavaForConditionalGeneration` with its processor (`vlm/`), a small `SamModel` (`sam/`), and smaller SAMs beside it,",
            "trained from nothing on the embedded world; smaller SAMs begin with everything but the image encoder from `sam`.",
            "`from_pretrained` of transformers loads each folder without this project. `card.json` holds of every part the whole recipe,",
            "commit, versions, losses and the digest of every file; `segcompass ship-backbone` writes this page from it.",
            "",
            "| held-out scenes, greedy decoding | share |",
            "|---|---|",
            *[f"| {SAYS.get(name, name.replace('_', ' '))} | {_percent(scores[name])} |" for name in says],
            "",
            *_gates(card["vlm"].get("gates", {})),
            f"| SAM, held-out scenes | {' | '.join(f'`{name}`' for name in sams)} |",
            f"|---|{'---|' * len(sams)}",
            f"| image encoder, layers x width | {' | '.join(_encoder(card[name]) for name in sams)} |",
            *[
                f"| {text} | {' | '.join(_percent(card[name]['scores'][sam_score(score, name)]) for name in sams)} |"
                for score, text in SAM_SAYS.items()
            ],
            "",
            f"| part | phase | steps | seconds | mean loss of the last {LAST} steps |",
            "|---|---|---|---|---|",
            *[
                f"| `{part}` | {phase} | {steps:,} | {entry[SECONDS][phase]:,.0f} | {entry[LOSSES][phase]['total']:.3f} |"
                for part, entry in card.items()
                for phase, steps in entry["steps"].items()
            ],
            "",
            "| part | trained at commit | seed | threads |",
            "|---|---|---|---|",
            *[
                f"| `{part}` | {entry['commit']} | {entry['recipe']['seed']} | {entry['recipe']['threads']} |"
                for part, entry in card.items()
            ],
            "",
        ]
    )


def _gates(gates: dict[str, float]) -> list[str]:
    """What `segcompass gates` found, where it was asked."""
    if not gates:
        return []
    says = {name: GATE_SAYS.get(name, name.replace("_", " ")) for name in sorted(gates, key=list(GATE_SAYS | gates).index)}
    return [
        "| joint benchmarks of val: is there room for reward, and can it be learnt? | |",
        "|---|---|",
        *[f"| {text} | {100 * gates[name]:.1f} |" for name, text in says.items()],
        "",
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _encoder(entry: dict[str, Any]) -> str:
    vision = entry["recipe"]["sizes"]["vision"]
    return f"{vision['layers']} x {vision['width']}"


def read_card(folder: Path) -> Card:
    """The card of a shipped backbone; empty where nothing was shipped yet.

    Raises:
        InputError: it is damaged.
    """
    path = folder / "card.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(path, "", f"cannot be read ({error}); take it back from git") from error


def write_card(folder: Path, card: Card) -> None:
    """Writes `card.json` and the page that shows it."""
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card_text(card), encoding="utf-8")
