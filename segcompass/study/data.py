"""Keys of the data: the embedded world `shapescenes`, or a root that holds real benchmarks (docs/data.md)."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from segcompass.study.section import Section

Count = Annotated[int, Field(ge=0)]
MOST_PAIRS = 100_000
"""Pairs that the scene numbers of one attribute and split have room for."""
LEAST_OBJECTS = 3
"""Objects that a scene of a pair needs: two twins and the one that is edited."""


class SceneCounts(Section):
    """How many scenes each split holds; splits are by scene, never by sentence."""

    train: PositiveInt
    val: PositiveInt
    testA: PositiveInt
    testB: PositiveInt
    test: PositiveInt


class CounterfactualSettings(Section):
    """Pairs of scenes that differ in one attribute of one object (`segcompass/world/counterfactual.py`)."""

    pairs: Annotated[int, Field(ge=0, le=MOST_PAIRS)]
    """Pairs an attribute and split; 0 for none. A greater number keeps the pairs of a smaller one."""
    splits: list[Literal["val", "test"]]
    """Splits that have pairs: concepts are chosen on val and tested on test."""


class WorldSettings(Section):
    """The embedded world that `prepare_data` renders and writes."""

    source: Literal["embedded"]
    seed: Count
    """Seed of scenes, wording and splits."""
    scenes: SceneCounts
    image_sides: list[Annotated[int, Field(ge=64, le=1024)]]
    """Heights and widths in pixels to draw from, independently, so that aspect ratios vary."""
    objects: tuple[PositiveInt, PositiveInt]
    """Least and greatest number of objects in a scene."""
    instructions_per_scene: PositiveInt
    """Expressions written per scene and benchmark."""
    patterns: bool
    """Draw striped and dotted objects beside plain ones."""
    occlusion: bool
    """Let objects overlap partly; at least 60 % of each object stays visible."""
    shuffle_masks: bool
    """The null twin: masks are shuffled over the training samples, so every effect must vanish."""
    counterfactuals: CounterfactualSettings


class RootSettings(Section):
    """A root on disk that holds benchmarks in their own formats."""

    source: Literal["root"]
    root: str
    """The folder, in the layout of docs/data.md."""
    partitions: dict[str, Literal["unc", "google", "umd"] | None]
    """Benchmarks to read, each with its partition; null where it has only one."""


DataSettings = Annotated[WorldSettings | RootSettings, Field(discriminator="source")]


def annotation_folders(data: RootSettings) -> list[str]:
    """Folders of the root whose annotation files decide what the manifests hold."""
    found = []
    for benchmark in data.partitions:
        found += [f"ReasonSeg/{split}" for split in ("train", "val", "test")] if benchmark == "reasonseg" else [benchmark]
    return [f"{data.root}/{folder}" for folder in found]


def counterfactual_contradictions(data: WorldSettings) -> list[str]:
    """What keeps counterfactual pairs from being drawn, as `key: what to do about it`."""
    found = []
    wanted = data.counterfactuals
    if len(set(wanted.splits)) != len(wanted.splits) or not wanted.splits:
        found.append("data.counterfactuals.splits: list at least one split, each once; 0 pairs asks for none")
    if wanted.pairs and data.objects[1] < LEAST_OBJECTS:
        found.append(f"data.objects: counterfactual pairs need {LEAST_OBJECTS} objects in a scene; allow them, or ask for 0 pairs")
    return found
