"""Gold chains of thought, and the parser that reads a thought's targets back.

Grammar: `[fact .] [anchor : DESCRIPTION .] [RELATION anchor .] target : DESCRIPTION [; DESCRIPTION …]` or, if nothing matches,
`target : no such object`; DESCRIPTION is `SIZE COLOUR PATTERN SHAPE at PLACE`.
"""

import re

from segcompass.world.lexicon import COLOURS, PATTERNS, PLACES, SHAPES, SIZES
from segcompass.world.scene import Scene, SceneObject

NOTHING = "no such object"
_WORDS = ["|".join(words) for words in (SIZES, COLOURS, PATTERNS, SHAPES, sorted(PLACES, key=len, reverse=True))]
_DESCRIPTION = re.compile("({}) ({}) ({}) ({}) at ({})$".format(*_WORDS))

Described = tuple[str, str, str, str, str]
"""Size, colour, pattern, shape, place."""


def describe(scene: Scene, item: SceneObject) -> str:
    """An object in full, with its coarse place."""
    return f"{item.size} {item.colour} {item.pattern} {item.shape} at {scene.place(item)}"


def caption(scene: Scene) -> str:
    """Every object in reading order of its place (row by row)."""
    ordered = sorted(scene.objects, key=lambda item: (PLACES.index(scene.place(item)), item.object_id))
    return " ; ".join(describe(scene, item) for item in ordered)


def thought(scene: Scene, targets: list[SceneObject], fact: str = "", anchor: SceneObject | None = None, relation: str = "") -> str:
    """The gold thought of an instruction."""
    parts = [f"{fact} ."] if fact else []
    if anchor is not None:
        parts += [f"anchor : {describe(scene, anchor)} .", f"{relation} anchor ."]
    ordered = sorted(targets, key=lambda item: (PLACES.index(scene.place(item)), item.object_id))
    named = " ; ".join(describe(scene, item) for item in ordered)
    return " ".join([*parts, f"target : {named or NOTHING}"])


def parse_targets(text: str) -> list[Described] | None:
    """The described targets of a thought, [] for "no such object", None where the thought does not follow the grammar."""
    _, found, tail = text.rpartition("target : ")
    if not found:
        return None
    if tail.strip() == NOTHING:
        return []
    matches = [_DESCRIPTION.match(part.strip()) for part in tail.split(";")]
    return [match.groups() for match in matches if match] if all(matches) else None  # type: ignore[misc]


def thought_targets(answer: str) -> list[Described] | None:
    """The described targets of an answer, `<think> … </think>` and what follows; see `parse_targets`."""
    return parse_targets(answer.partition("</think>")[0].replace("<think>", "").strip())


def thought_is_right(answer: str, gold: str) -> bool:
    """Whether an answer's thought ends in exactly the gold thought's targets, in any order.

    Args:
        answer: generated text, `<think> … </think>` and what follows.
        gold: words of the gold thought.
    """
    named, wanted = thought_targets(answer), parse_targets(gold)
    return named is not None and wanted is not None and sorted(named) == sorted(wanted)
