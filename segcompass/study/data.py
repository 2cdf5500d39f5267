"""Keys of the data: the embedded world `shapescenes`, or a root that holds real benchmarks (docs/data.md)."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from segcompass.study.section import Section

Count = Annotated[int, Field(ge=0)]


class SceneCounts(Section):
    """How many scenes each split holds; splits are by scene, never by sentence."""

    train: PositiveInt
    val: PositiveInt
    testA: PositiveInt
    testB: PositiveInt
    test: PositiveInt


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
