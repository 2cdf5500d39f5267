"""Examples of the demo, drawn when it starts: counterfactual pairs of the world that the run's study lives in, one an attribute.

The two pictures of a pair differ in one attribute of one object, and its two instructions in the attribute's word, so that an exchange of
the attribute's concepts should move the mask from one object to another (`segcompass/world/counterfactual.py`, kind `cause`). They are
pairs with the highest numbers of val, which no study of a usual size has trained, chosen or tested anything on.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from segcompass.backbone.interface import Image
from segcompass.joint.stored_run import StoredRun
from segcompass.provenance.stage import read_run
from segcompass.study.data import LEAST_OBJECTS, MOST_PAIRS, DataSettings, WorldSettings
from segcompass.study.load import load_study
from segcompass.world.counterfactual import draw_pair, pictures, varied_attributes

DEFAULT_STUDY = Path(__file__).parents[2] / "params" / "default.yaml"
"""Whose world the shipped backbone was trained in, and the shipped run with it."""


@dataclass(frozen=True)
class Side:
    """A picture and what is asked of it."""

    image: Image
    instruction: str


@dataclass(frozen=True)
class Example:
    """Two pictures between which an attribute can be exchanged."""

    attribute: str
    sides: tuple[Side, Side]


def world_of(stored: StoredRun) -> WorldSettings | None:
    """The embedded world of a run's study, that of the default study for a shipped run; None of photographs, or where the data are gone."""
    if stored.study is None:
        data: DataSettings = load_study(DEFAULT_STUDY).data
    elif (stored.study / "data" / "run.json").is_file():
        data = TypeAdapter(DataSettings).validate_json(json.dumps(read_run(stored.study / "data")["params"]["data"]))
    else:
        return None
    return data if isinstance(data, WorldSettings) else None


def drawn_examples(world: WorldSettings | None) -> list[Example]:
    """One pair of each attribute; none of photographs, or where scenes have too few objects for a pair."""
    if world is None or world.objects[1] < LEAST_OBJECTS:
        return []
    found = []
    for attribute in varied_attributes(world):
        pair = draw_pair(attribute, "val", MOST_PAIRS - 1, world)
        said = [pair.expressions[side][role].sentences[0] for side, role in enumerate(("twin_first", "twin_second"))]
        first, second = (Side(image, text) for image, text in zip(pictures(pair, world.seed), said, strict=True))
        found.append(Example(attribute, (first, second)))
    return found
