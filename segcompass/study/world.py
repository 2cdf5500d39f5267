"""Keys of the embedded world `shapescenes` (docs/architecture.md, section World)."""

from typing import Annotated

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
    """What `prepare_data` renders and writes."""

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
