"""Keys of the concept study: on which scenes dictionaries are scored, and which sweeps of them are trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from segcompass.study.concepts import Dictionary
from segcompass.study.section import Section

SPARSITY = {"relu_l1": "l1_coefficient", "topk": "k", "batchtopk": "k", "jumprelu": "l0_coefficient"}
"""Architecture -> its key that sets the sparsity."""


class ScoredScenes(Section):
    """How many scenes of each split are labelled: thresholds are chosen on `train`, numbers are read on `val`."""

    train: PositiveInt
    val: PositiveInt


class LabelledTokenSettings(Section):
    """Which tokens are labelled, and so what dictionaries are measured on."""

    scenes: ScoredScenes
    expressions: PositiveInt
    """Greatest number of expressions a scene, evenly spaced over those it has."""
    batch: PositiveInt
    """Sequences per forward pass."""


class ScoreSettings(Section):
    """How dictionaries are scored."""

    coverage_fractions: list[Annotated[float, Field(gt=0.0, le=1.0)]]
    """Shares of the visual tokens, by activation, whose coverage of the target is measured (Figure 5)."""
    strongest: PositiveInt
    """Patches and words kept of each concept, by activation."""
    seed: Annotated[int, Field(ge=0)]
    """Of the shuffled labels."""


class ConceptSettings(Section):
    """The concept study."""

    tokens: LabelledTokenSettings
    scores: ScoreSettings


class SweepLine(Section):
    """One line of the sparsity-fidelity frontier: a dictionary of `saes` at another layer and width, one for each sparsity."""

    like: str
    """Name of the dictionary whose other keys are kept."""
    hook_layer: PositiveInt
    width: PositiveInt
    sparsity: list[PositiveFloat]
    """Values of the architecture's sparsity key: k, l1_coefficient or l0_coefficient."""


class SweepSettings(Section):
    """Dictionaries trained beside `saes`, for the frontier only."""

    steps: PositiveInt
    """Training steps of each; every other key is that of `sae_training`."""
    lines: list[SweepLine]


@dataclass(frozen=True)
class SweptDictionary:
    """A dictionary of the sweep."""

    hook_layer: int
    dictionary: Dictionary


def swept_dictionaries(sweep: SweepSettings, saes: Mapping[str, Dictionary]) -> dict[str, SweptDictionary]:
    """The dictionaries of a sweep by name, as `topk_layer2_width1024_k16`; a line whose `like` cannot be swept has none."""
    found = {}
    for line in sweep.lines:
        base = saes.get(line.like)
        if base is None or base.architecture not in SPARSITY:
            continue
        key = SPARSITY[base.architecture]
        for value in line.sparsity:
            raw = base.model_dump() | {"width": line.width, key: int(value) if key == "k" else value}
            name = f"{line.like}_layer{line.hook_layer}_width{line.width}_{key}{value:g}".replace(".", "p").replace("e-", "em")
            found[name] = SweptDictionary(line.hook_layer, type(base).model_validate(raw))
    return found


def sweep_contradictions(sweep: SweepSettings, saes: Mapping[str, Dictionary]) -> list[str]:
    """What is wrong with a sweep, a sentence each."""
    found = []
    for index, line in enumerate(sweep.lines):
        base = saes.get(line.like)
        if base is None or base.architecture not in SPARSITY:
            found.append(f"sweep.lines.{index}.like: `{line.like}` is not a dictionary of `saes` of architecture {', '.join(SPARSITY)}")
        elif SPARSITY[base.architecture] == "k" and any(value >= line.width or value != int(value) for value in line.sparsity):
            found.append(f"sweep.lines.{index}.sparsity: k must be a whole number smaller than width")
    if names := set(swept_dictionaries(sweep, saes)) & set(saes):
        found.append(f"saes.{min(names)}: is also the name of a dictionary of the sweep; rename it")
    return found
