"""Expressions of the five benchmarks for a scene, each with its target set and gold thought.

An expression is kept only where an exhaustive check of the scene finds exactly its targets. ReasonSeg names things that are
never drawn ("the colour of a ripe tomato"), alone, in pairs, or as the anchor of a relation. The backbone's text teaches the wording with
other things (`implicit`) and every thing by its fact alone (`facts`): that a ReasonSeg thing is meant in a picture is never shown to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from segcompass.world.lexicon import COLOUR_FACTS, COLOURS, NUMBERS, PLACES, RELATIONS, SHAPE_FACTS, SHAPES, TAUGHT_THINGS
from segcompass.world.scene import Scene, SceneObject
from segcompass.world.thoughts import thought

MARGIN = 0.08
"""Least distance of two centres along a relation's axis, as a share of the image side."""
NEAR_MARGIN = 0.02
"""Below `MARGIN` but above this a relation is doubtful, and the expression is not used."""
SHORT_NAMES = (("shape",), ("colour",), ("colour", "shape"))
"""Attributes that a phrase names beside a place or a relation."""
APPEARANCES = (*SHORT_NAMES, ("size", "shape"), ("size", "colour", "shape"), ("size", "colour", "pattern", "shape"))
"""Attributes that a phrase of appearance alone names."""


@dataclass(frozen=True)
class Expression:
    """An instruction: paraphrases, targets (object ids) and the gold thought."""

    sentences: tuple[str, ...]
    targets: tuple[int, ...]
    thought: str
    doubtful: tuple[int, ...] = field(default=())
    """Objects that a reader could also mean; ReasonSeg writes them as `ignore`."""
    near: tuple[int, ...] = field(default=())
    """Of an expression that fits nothing: the object that it nearly fits."""


def article(thing: str) -> str:
    """A thing with its indefinite article."""
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def facts() -> list[tuple[str, str]]:
    """Every fact as (question, answer): what the backbone's text teaches."""
    found = []
    for colour, things in COLOUR_FACTS.items():
        found += [(f"what colour is {article(thing)} ?", f"{article(thing)} is {colour}") for thing in things]
    for shape, things in SHAPE_FACTS.items():
        found += [(f"what shape is {article(thing)} ?", f"{article(thing)} is a {shape}") for thing in things]
    return found


def holds(scene: Scene, item: SceneObject, relation: str, anchor: SceneObject, margin: float = MARGIN) -> bool:
    """Whether `item` stands in `relation` to `anchor`, by their centres and at least `margin` of the image side apart."""
    across, down = (item.column - anchor.column) / scene.width, (item.row - anchor.row) / scene.height
    return {"left of": -across, "right of": across, "above": -down, "below": down}[relation] >= margin


def matching(scene: Scene, **attributes: str) -> list[SceneObject]:
    """Objects that have all the given attributes; `place` is one of them."""
    return [
        o
        for o in scene.objects
        if all((scene.place(o) if key == "place" else getattr(o, key)) == value for key, value in attributes.items())
    ]


def refcoco(scene: Scene, item: SceneObject, generator: np.random.Generator) -> Expression | None:
    """Short phrase with a place: "left red ring"."""
    place = scene.place(item)
    for keys in _shuffled(SHORT_NAMES, generator):
        named = {key: getattr(item, key) for key in keys}
        if len(matching(scene, place=place, **named)) == 1:
            words = " ".join(named.values()) + ("" if "shape" in named else " object")
            gold = thought(scene, [item], f"{words} at {place}")
            return Expression((f"{place} {words}", f"{words} on the {place}"), (item.object_id,), gold)
    return None


def refcoco_plus(scene: Scene, item: SceneObject, generator: np.random.Generator) -> Expression | None:
    """Appearance only: "small striped ring"."""
    for keys in _shuffled(APPEARANCES, generator):
        named = {key: getattr(item, key) for key in keys}
        if len(matching(scene, **named)) == 1:
            words = " ".join(named.values()) + ("" if "shape" in named else " object")
            return Expression((words, f"the {words}"), (item.object_id,), thought(scene, [item], words))
    return None


def refcocog(scene: Scene, item: SceneObject, generator: np.random.Generator) -> Expression | None:
    """A longer sentence with a relation to an anchor that its colour and shape name."""
    for anchor in _shuffled([o for o in scene.objects if o is not item], generator):
        if len(matching(scene, colour=anchor.colour, shape=anchor.shape)) != 1:
            continue
        for relation in _shuffled(list(RELATIONS), generator):
            for keys in _shuffled(SHORT_NAMES, generator):
                named = {key: getattr(item, key) for key in keys}
                same = [o for o in matching(scene, **named) if o is not anchor]
                clear = [o for o in same if holds(scene, o, relation, anchor)]
                if clear != [item] or any(holds(scene, o, relation, anchor, NEAR_MARGIN) for o in same if o is not item):
                    continue
                words = " ".join(named.values()) + ("" if "shape" in named else " object")
                other = f"{anchor.colour} {anchor.shape}"
                sentences = (f"the {words} that is {relation} the {other}", f"a {words} placed {relation} the {other} in the picture")
                return Expression(sentences, (item.object_id,), thought(scene, [item], anchor=anchor, relation=relation))
    return None


def grefcoco_single(scene: Scene, item: SceneObject, generator: np.random.Generator) -> Expression | None:
    """gRefCOCO's one-target expressions are worded like RefCOCO's."""
    return refcoco(scene, item, generator)


def grefcoco_several(scene: Scene, item: SceneObject, generator: np.random.Generator) -> Expression | None:
    """All objects of a colour or shape, or two named ones; two to four targets."""
    for kind in _shuffled(["colour", "shape", "pair"], generator):
        if kind == "pair":
            others = [o for o in scene.objects if o is not item and len(matching(scene, colour=o.colour, shape=o.shape)) == 1]
            if not others or len(matching(scene, colour=item.colour, shape=item.shape)) != 1:
                continue
            targets = [item, others[int(generator.integers(len(others)))]]
            first, second = (f"{o.colour} {o.shape}" for o in targets)
            request = f"{first} and {second}"
            sentences: tuple[str, ...] = (request, f"the {first} and the {second}")
        else:
            value = getattr(item, kind)
            targets = matching(scene, **{kind: value})
            noun = f"{value} objects" if kind == "colour" else f"objects of shape {value}"
            request = noun
            sentences = (f"all {noun}", f"the {NUMBERS[len(targets)]} {noun}")
        if 2 <= len(targets) <= 4:
            return Expression(sentences, tuple(sorted(o.object_id for o in targets)), thought(scene, targets, request))
    return None


def grefcoco_none(scene: Scene, item: SceneObject, generator: np.random.Generator) -> Expression | None:
    """An expression that fits nothing, close to something: the wrong shape for a colour that is there."""
    absent = [shape for shape in SHAPES if not matching(scene, colour=item.colour, shape=shape)]
    if not absent:
        return None
    words = f"{item.colour} {absent[int(generator.integers(len(absent)))]}"
    place = PLACES[int(generator.integers(len(PLACES)))]
    return Expression((words, f"the {words} on the {place}"), (), thought(scene, [], words), near=(item.object_id,))


def reasonseg(scene: Scene, item: SceneObject, generator: np.random.Generator) -> Expression | None:
    """Implicit wording that needs a fact, two facts, or a fact and a relation, about things that no instruction of the text names."""
    return _by_facts(scene, item, generator, slice(TAUGHT_THINGS, None))


def implicit(scene: Scene, item: SceneObject, generator: np.random.Generator) -> Expression | None:
    """ReasonSeg's wording about the other things: what the backbone's text teaches."""
    return _by_facts(scene, item, generator, slice(TAUGHT_THINGS))


def _by_facts(scene: Scene, item: SceneObject, generator: np.random.Generator, things: slice) -> Expression | None:
    colour_thing = str(generator.choice(COLOUR_FACTS[item.colour][things]))
    shape_thing = str(generator.choice(SHAPE_FACTS[item.shape][things]))
    for kind in _shuffled(["colour", "shape", "both", "relation"], generator):
        if kind == "relation":
            expression = _relation_by_fact(scene, item, generator, things)
            if expression:
                return expression
            continue
        named = {
            key: getattr(item, key) for key in (("colour",) if kind == "colour" else ("shape",) if kind == "shape" else ("colour", "shape"))
        }
        if len(matching(scene, **named)) != 1:
            continue
        colour_fact, shape_fact = f"{article(colour_thing)} is {item.colour}", f"{article(shape_thing)} is a {item.shape}"
        sentences, fact = {
            "colour": (
                (f"the thing with the colour of {article(colour_thing)}", f"what looks like {article(colour_thing)} in colour ?"),
                colour_fact,
            ),
            "shape": (
                (f"the thing with the shape of {article(shape_thing)}", f"what has the outline of {article(shape_thing)} ?"),
                shape_fact,
            ),
            "both": (
                (
                    f"the thing with the colour of {article(colour_thing)} and the shape of {article(shape_thing)}",
                    f"what would be {article(shape_thing)} painted like {article(colour_thing)} ?",
                ),
                f"{colour_fact} . {shape_fact}",
            ),
        }[kind]
        return Expression(sentences, (item.object_id,), thought(scene, [item], fact=fact))
    return None


def _relation_by_fact(scene: Scene, item: SceneObject, generator: np.random.Generator, things: slice) -> Expression | None:
    for anchor in _shuffled([o for o in scene.objects if o is not item], generator):
        if len(matching(scene, colour=anchor.colour)) != 1:
            continue
        thing = str(generator.choice(COLOUR_FACTS[anchor.colour][things]))
        for relation in _shuffled(list(RELATIONS), generator):
            same = [o for o in matching(scene, shape=item.shape) if o is not anchor]
            near = [o for o in same if holds(scene, o, relation, anchor, NEAR_MARGIN)]
            if item not in near or [o for o in near if holds(scene, o, relation, anchor)] != [item]:
                continue
            sentences = (
                f"the {item.shape} that is {relation} the thing with the colour of {article(thing)}",
                f"which {item.shape} is {relation} what looks like {article(thing)} in colour ?",
            )
            doubtful = tuple(o.object_id for o in near if o is not item)
            gold = thought(scene, [item], fact=f"{article(thing)} is {anchor.colour}", anchor=anchor, relation=relation)
            return Expression(sentences, (item.object_id,), gold, doubtful)
    return None


Wording = Callable[[Scene, SceneObject, np.random.Generator], Expression | None]


def wordings(benchmark: str, split: str) -> list[Wording]:
    """The kinds of expression that a benchmark's split holds; gRefCOCO val has no single-target ones."""
    if benchmark == "grefcoco":
        several: list[Wording] = [grefcoco_several, grefcoco_none]
        return several if split == "val" else [grefcoco_single, *several]
    return [{"refcoco": refcoco, "refcoco+": refcoco_plus, "refcocog": refcocog, "reasonseg": reasonseg}[benchmark]]


def vocabulary() -> list[str]:
    """Every word of any instruction, thought, caption or fact, sorted."""
    texts = [
        *COLOURS,
        *SHAPES,
        *PLACES,
        *RELATIONS,
        *NUMBERS,
        "small large plain striped dotted",
        ": ; . ? no such object objects target anchor at and all",
    ]
    texts += ["on the a an that is placed in picture of shape thing with colour what looks like has outline would be painted which"]
    texts += [text for pair in facts() for text in pair]
    return sorted({word for text in texts for word in text.split()})


def _shuffled(values: Sequence, generator: np.random.Generator) -> list:  # type: ignore[type-arg]
    return [values[index] for index in generator.permutation(len(values))]
