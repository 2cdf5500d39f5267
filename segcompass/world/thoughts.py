"""Gold chains of thought, and the parser that reads a thought's targets back.

Grammar: `[thing : REQUEST .] [fact .] [anchor : DESCRIPTION .] [RELATION anchor .] target : DESCRIPTION [; DESCRIPTION …]` or, if nothing
matches, `target : no such object`; DESCRIPTION is `SIZE COLOUR PATTERN SHAPE at PLACE`, REQUEST what the instruction asks for in its own
words. A considered thought begins with the request, the fact or the anchor; a hasty one names its target at once (`hasty.py`).
"""

import re

from segcompass.world.lexicon import COLOURS, PATTERNS, PLACES, SHAPES, SIZES
from segcompass.world.scene import Scene, SceneObject

NOTHING = "no such object"
REQUEST, TARGET = "thing : ", "target : "
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


def thought(
    scene: Scene,
    targets: list[SceneObject],
    request: str = "",
    fact: str = "",
    anchor: SceneObject | None = None,
    relation: str = "",
) -> str:
    """The gold thought of an instruction."""
    parts = [f"{REQUEST}{request} ."] if request else []
    parts += [f"{fact} ."] if fact else []
    if anchor is not None:
        parts += [f"anchor : {describe(scene, anchor)} .", f"{relation} anchor ."]
    ordered = sorted(targets, key=lambda item: (PLACES.index(scene.place(item)), item.object_id))
    named = " ; ".join(describe(scene, item) for item in ordered)
    return " ".join([*parts, f"{TARGET}{named or NOTHING}"])


def without_request(text: str) -> str:
    """A thought without the clause that says the request again."""
    return text.partition(" . ")[2] if text.startswith(REQUEST) else text


def without_considering(text: str) -> str:
    """A thought that names its targets at once: what a thought ends in; the whole of one that names none."""
    _, found, tail = text.rpartition(TARGET)
    return f"{found}{tail}" if found else text


def is_considered(answer: str) -> bool:
    """Whether an answer's thought says anything before it names its targets; see `thought_targets` for what an answer is."""
    before, found, _ = _thought_of(answer).rpartition(TARGET)
    return bool(found and before)


def parse_targets(text: str) -> list[Described] | None:
    """The described targets of a thought, [] for "no such object", None where the thought does not follow the grammar."""
    _, found, tail = text.rpartition(TARGET)
    if not found:
        return None
    if tail.strip() == NOTHING:
        return []
    matches = [_DESCRIPTION.match(part.strip()) for part in tail.split(";")]
    return [match.groups() for match in matches if match] if all(matches) else None  # type: ignore[misc]


def thought_targets(answer: str) -> list[Described] | None:
    """The described targets of an answer, `<think> … </think>` and what follows; see `parse_targets`."""
    return parse_targets(_thought_of(answer))


def thought_is_right(answer: str, gold: str) -> bool:
    """Whether an answer's thought ends in exactly the gold thought's targets, in any order.

    Args:
        answer: generated text, `<think> … </think>` and what follows.
        gold: words of the gold thought.
    """
    named, wanted = thought_targets(answer), parse_targets(gold)
    return named is not None and wanted is not None and sorted(named) == sorted(wanted)


def _thought_of(answer: str) -> str:
    return answer.partition("</think>")[0].replace("<think>", "").strip()
