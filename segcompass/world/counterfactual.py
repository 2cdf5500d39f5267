"""Counterfactual pairs: two scenes that differ in one attribute of one object, with expressions whose targets tell what that changes.

The scenes. A pair has an attribute and two of its values, u and v, and three objects of note, which are in both scenes:

* two *twins*, described by the same words but for the attribute, of which one has u and the other v (of colour, shape, size and pattern
  they share the place too, of place they share all the rest);
* the *lone* object, which has u in the first scene and v in the second one: the only difference. It is told from every other object by
  words that leave the attribute out.

Other objects fill the scene up and fit none of the pair's words. Both pictures are painted with the same random numbers and are equal to
the pixel outside the masks that the lone object has in the two scenes (`pictures`).

Why three objects. One edit adds one object to what a phrase fits or takes one away, so no phrase means one object before it and another
one after it. A swap needs two objects whose descriptions differ in the attribute alone, else the edited thought contradicts itself.
Isolation needs an edited object that is found without the attribute, which one that has such a twin is not.

The expressions. Five of them are asked about either picture, in the wording of RefCOCO or RefCOCO+, each checked against all objects:

| role | names | first scene | second scene |
|---|---|---|---|
| `twin_first` | a twin by u | the twin with u | the same |
| `twin_second` | the same words with v | the twin with v | the same |
| `lone_first` | the lone object by u | the lone object | nothing |
| `lone_second` | the same words with v | nothing | the lone object |
| `unnamed` | the lone object, without the attribute | the lone object | the same |

The kinds, one row each of `pairs/<split>.jsonl` (`ROWS`): an expression about each picture, and one that says what must be segmented there
after the attribute's concepts have been exchanged between the two runs, image and words fixed. These are always the other run's targets.

* `cause` (RAVEL's cause of the attribute): `twin_first` in the first picture against `twin_second` in the second. The thoughts differ in
  the attribute's word alone. After the exchange the thought names the other twin, and the mask must move to it, whether or not the codes of
  visual tokens are exchanged too: those differ on the lone object alone, which neither phrase fits in either scene.
* `isolation` (RAVEL's isolation): `unnamed` on both sides. The lone object looks different and the thought says so, the words do not depend
  on it: the mask must stay. What an exchange of *another* attribute's concepts does to the rows of `cause` is isolation too.
* `presence`: the same words on both sides, which fit the lone object in one picture and nothing in the other. After an exchange of all
  codes the object is wanted where it was not, and the other way round.
* `contrast`: `lone_first` against `lone_second`. The same object under two names: what the attribute's concepts are found on. After an
  exchange of all codes the mask must stay; an exchange of text alone leaves nothing to name, so that one says nothing here.

Two sides of a row have sentences of equally many words, and thoughts too where both name an object, so their tokens correspond.
"""

from dataclasses import dataclass, replace

import numpy as np

from segcompass.datasets.pairs import Kind
from segcompass.study.data import LEAST_OBJECTS, MOST_PAIRS, WorldSettings
from segcompass.world.instructions import APPEARANCES, SHORT_NAMES, Expression, matching
from segcompass.world.lexicon import ATTRIBUTES, PLACES, place_of
from segcompass.world.render import as_jpeg, draw_chance, paint
from segcompass.world.scene import RADIUS, Scene, SceneObject, draw_object, fits, outline, seen, stands_apart
from segcompass.world.thoughts import thought

FIRST_SCENE = 5_000_000
"""Number of the first scene of a pair: above those of the benchmarks, below those of the backbone's own scenes."""
SPLITS = ("val", "test")
FRAMES = (*(("place", *keys) for keys in SHORT_NAMES), *APPEARANCES)
"""What a phrase names: with a place as in RefCOCO, else as in RefCOCO+ (`instructions.py`)."""

TWINS, LONE = (0, 1), 2
"""Places in the cast of a pair."""
TARGETS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "twin_first": ((0,), (0,)),
    "twin_second": ((1,), (1,)),
    "lone_first": ((LONE,), ()),
    "lone_second": ((), (LONE,)),
    "unnamed": ((LONE,), (LONE,)),
}
"""Role -> who of the cast is meant in the first and in the second scene."""
ROWS: tuple[tuple[Kind, tuple[str, str], tuple[str, str]], ...] = (
    ("cause", ("twin_first", "twin_second"), ("twin_second", "twin_first")),
    ("isolation", ("unnamed", "unnamed"), ("unnamed", "unnamed")),
    ("presence", ("lone_first", "lone_second"), ("lone_first", "lone_second")),
    ("presence", ("lone_second", "lone_first"), ("lone_second", "lone_first")),
    ("contrast", ("lone_first", "lone_first"), ("lone_second", "lone_second")),
)
"""Kind, then for either picture the role that is asked and the one whose target must be segmented after the exchange."""

Named = dict[str, str]
"""Attribute -> value, of the attributes that a phrase names."""
Items = tuple[SceneObject, SceneObject]
"""One object as it is in the first and in the second scene."""


@dataclass(frozen=True)
class ScenePair:
    """Two scenes that differ in one attribute of one object."""

    attribute: str
    values: tuple[str, str]
    """The edited object's value in the first and in the second scene."""
    edited: int
    """Its object id."""
    scenes: tuple[Scene, Scene]
    expressions: tuple[dict[str, Expression], dict[str, Expression]]
    """Role -> expression of one sentence, for either scene."""


@dataclass(frozen=True)
class _Cast:
    """The twins and the lone object on an image of height x width pixels."""

    height: int
    width: int
    values: tuple[str, str]
    items: tuple[Items, Items, Items]

    def sides(self) -> tuple[Scene, Scene]:
        """The cast alone as two scenes, for `matching`."""
        first, second = (_unpainted([item[side] for item in self.items], self.height, self.width) for side in (0, 1))
        return first, second


@dataclass(frozen=True)
class _Placed:
    """An object in its place of the drawing order."""

    items: Items
    outlines: tuple[np.ndarray, np.ndarray]
    """bool [height, width] each, as if nothing were in front of it."""
    cast: int | None
    """Who of the cast it is; None for an object that fills the scene up."""


def pictures(pair: ScenePair, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Both pictures, uint8 [height, width, 3].

    As JPEG files they would differ around the edited object, over whole blocks; without any compression they would be unlike all that the
    backbone has seen (its thoughts were right 2 % less often). So each is the decoded JPEG of the scene without the edited object, and
    within that object's visible mask the decoded JPEG of the scene with it.
    """
    chance = draw_chance(pair.scenes[0], np.random.default_rng([seed, pair.scenes[0].scene_id, 1]))
    others = [index for index in range(len(pair.scenes[0].objects)) if index != pair.edited]
    bare = as_jpeg(paint(_only(pair.scenes[0], others), chance.only(others)))
    first, second = (np.where(scene.visible[pair.edited][..., None], as_jpeg(paint(scene, chance)), bare) for scene in pair.scenes)
    return first, second


def _only(scene: Scene, kept: list[int]) -> Scene:
    """The scene with some of its objects alone, which keep their ids."""
    objects = tuple(scene.objects[index] for index in kept)
    full = np.stack([outline(item, scene.height, scene.width) for item in objects])
    return replace(scene, objects=objects, visible=seen(full))


def varied_attributes(settings: WorldSettings) -> list[str]:
    """Attributes that have pairs: all that differ between objects of the world."""
    return [attribute for attribute in ATTRIBUTES if settings.patterns or attribute != "pattern"]


def draw_pair(attribute: str, split: str, number: int, settings: WorldSettings) -> ScenePair:
    """The `number`-th pair of an attribute and split; it does not depend on how many there are."""
    block = list(ATTRIBUTES).index(attribute) * len(SPLITS) + SPLITS.index(split)
    scene_id = FIRST_SCENE + 2 * (block * MOST_PAIRS + number)
    generator = np.random.default_rng([settings.seed, scene_id])
    while True:
        cast = _draw_cast(attribute, settings, generator)
        named = _draw_words(attribute, cast, generator) if cast else None
        placed = _filled(cast, named, settings, generator) if cast and named else None
        if cast and named and placed:
            ids = {one.cast: index for index, one in enumerate(placed)}
            form = int(generator.integers(2))
            scenes, worded = [], []
            for side in (0, 1):
                scene = _scene(placed, side, scene_id + side, split)
                means = {role: tuple(ids[index] for index in TARGETS[role][side]) for role in named}
                scenes.append(scene)
                worded.append({role: _expression(scene, words, means[role], form) for role, words in named.items()})
            return ScenePair(attribute, cast.values, ids[LONE], (scenes[0], scenes[1]), (worded[0], worded[1]))


def _draw_cast(attribute: str, settings: WorldSettings, generator: np.random.Generator) -> _Cast | None:
    height, width = (int(side) for side in generator.choice(settings.image_sides, 2))
    values = _two_values(attribute, generator)
    drawn = [draw_object(0, height, width, settings.patterns, generator) for _ in range(2)]
    twin, lone = (_with(item, attribute, values[0], height, width, generator) for item in drawn)
    other, edited = (_with(item, attribute, values[1], height, width, generator) for item in (twin, lone))
    if attribute != "place":
        other = _moved(other, place_of(twin.row, twin.column, height, width), height, width, generator)
    cast = _Cast(height, width, values, ((twin, twin), (other, other), (lone, edited)))
    apart = all(
        stands_apart(second, [first], height, width)
        for first, second in ((twin, other), *((t, e) for t in (twin, other) for e in (lone, edited)))
    )
    return cast if apart and all(_inside(item, height, width) for item in (twin, other, lone, edited)) else None


def _two_values(attribute: str, generator: np.random.Generator) -> tuple[str, str]:
    """Two values of equally many words, so that tokens of the two sides correspond."""
    while True:
        first, second = (str(value) for value in generator.choice(ATTRIBUTES[attribute], 2, replace=False))
        if len(first.split()) == len(second.split()):
            return first, second


def _with(item: SceneObject, attribute: str, value: str, height: int, width: int, generator: np.random.Generator) -> SceneObject:
    """The object with another value and all else equal; a new size keeps its centre and its rank within the sizes of the word."""
    if attribute == "place":
        return _moved(item, value, height, width, generator)
    if attribute == "size":
        side = min(height, width)
        radius = float(np.interp(item.radius / side, RADIUS[item.size], RADIUS[value])) * side
        return replace(item, size=value, radius=radius) if value != item.size else item
    return replace(item, **{attribute: value})  # type: ignore[arg-type]


def _moved(item: SceneObject, place: str, height: int, width: int, generator: np.random.Generator) -> SceneObject:
    """The object at a random spot of a place."""
    centre = [
        float(generator.uniform(max(item.radius, extent * third / 3), min(extent - item.radius, extent * (third + 1) / 3)))
        for extent, third in zip((height, width), divmod(PLACES.index(place), 3), strict=True)
    ]
    return replace(item, row=centre[0], column=centre[1])


def _inside(item: SceneObject, height: int, width: int) -> bool:
    return item.radius <= item.row <= height - item.radius and item.radius <= item.column <= width - item.radius


def _draw_words(attribute: str, cast: _Cast, generator: np.random.Generator) -> dict[str, Named] | None:
    """What each role names, such that it means whom it should among the cast; None where no frame does."""
    sides = cast.sides()
    twin, lone = cast.items[TWINS[0]][0], cast.items[LONE][0]
    found: dict[str, Named] = {}
    for roles, item in ((("twin_first", "twin_second"), twin), (("lone_first", "lone_second"), lone), (("unnamed",), lone)):
        for index in generator.permutation(len(FRAMES)):
            frame = FRAMES[index]
            if (attribute in frame) != (len(roles) == 2):
                continue
            shared = {
                key: place_of(item.row, item.column, cast.height, cast.width) if key == "place" else getattr(item, key) for key in frame
            }
            named = {
                role: shared | ({attribute: value} if attribute in frame else {}) for role, value in zip(roles, cast.values, strict=False)
            }
            if all(_meant(sides[side], words) == TARGETS[role][side] for role, words in named.items() for side in (0, 1)):
                found |= named
                break
        else:
            return None
    return found


def _filled(cast: _Cast, named: dict[str, Named], settings: WorldSettings, generator: np.random.Generator) -> list[_Placed] | None:
    """The cast among other objects, which no phrase fits, in a random drawing order; None where they find no room."""
    height, width = cast.height, cast.width
    placed = [_placed(cast.items[index], height, width, int(index)) for index in generator.permutation(len(cast.items))]
    count = int(generator.integers(max(settings.objects[0], LEAST_OBJECTS), settings.objects[1] + 1))
    if not _both_fit(placed, settings.occlusion):
        return None
    for _ in range(30 * count):
        if len(placed) == count:
            return placed
        item = draw_object(0, height, width, settings.patterns, generator)
        alone = _unpainted([item], height, width)
        if any(_meant(alone, words) for words in named.values()):
            continue
        if not stands_apart(item, (other for one in placed for other in one.items), height, width):
            continue
        place = int(generator.integers(len(placed) + 1))
        added = [*placed[:place], _placed((item, item), height, width, None), *placed[place:]]
        if _both_fit(added, settings.occlusion):
            placed = added
    return None


def _placed(items: Items, height: int, width: int, cast: int | None) -> _Placed:
    first = outline(items[0], height, width)
    return _Placed(items, (first, first if items[1] is items[0] else outline(items[1], height, width)), cast)


def _both_fit(placed: list[_Placed], occlusion: bool) -> bool:
    return all(fits(np.stack([one.outlines[side] for one in placed]), occlusion) for side in (0, 1))


def _scene(placed: list[_Placed], side: int, scene_id: int, split: str) -> Scene:
    objects = tuple(replace(one.items[side], object_id=index) for index, one in enumerate(placed))
    full = np.stack([one.outlines[side] for one in placed])
    return Scene(scene_id, split, full.shape[1], full.shape[2], objects, seen(full))


def _unpainted(items: list[SceneObject], height: int, width: int) -> Scene:
    """Objects as a scene that has attributes and places but no masks."""
    numbered = tuple(replace(item, object_id=index) for index, item in enumerate(items))
    return Scene(0, "", height, width, numbered, np.zeros((len(items), 0, 0), bool))


def _meant(scene: Scene, words: Named) -> tuple[int, ...]:
    return tuple(item.object_id for item in matching(scene, **words))


def _expression(scene: Scene, words: Named, targets: tuple[int, ...], form: int) -> Expression:
    if _meant(scene, words) != targets:
        raise AssertionError(f"scene {scene.scene_id}: {words} does not mean {targets} alone")
    place = words.get("place")
    phrase = " ".join(value for key, value in words.items() if key != "place") + ("" if "shape" in words else " object")
    request = f"{phrase} at {place}" if place else phrase
    sentences = (f"{place} {phrase}", f"{phrase} on the {place}") if place else (phrase, f"the {phrase}")
    return Expression((sentences[form],), targets, thought(scene, [scene.objects[target] for target in targets], request))
