"""Keys of evaluation, of the concept study, of the causal battery and of the report."""

import operator
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from segcompass.study.exchange import ExchangeSettings
from segcompass.study.experiments import Experiment
from segcompass.study.section import Section

Count = Annotated[int, Field(ge=0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
KEPT_HEAT_MAPS = 16
"""Heat maps kept of each evaluated split, of expressions with no target, one and several each: the first samples of as many images."""


class EvaluationSettings(Section):
    """What `evaluate` reads and how slots become predictions."""

    splits: dict[str, list[str]]
    """Benchmark -> its splits."""
    on_val: dict[Experiment, list[str]]
    """Experiment -> variants that are evaluated on `val` too. The others are not, as long as a benchmark has another split: nothing is
    tested there, and it is half of the samples."""
    batch: PositiveInt
    confidence_threshold: OpenFraction
    """On probabilities: a slot at or above it is part of the prediction; none means "no target"."""
    coverage_fraction: OpenFraction
    """q: share of the visual tokens, by concept activation, whose coverage of the target is recorded."""
    control_sae: str
    """An untrained dictionary, for `controls`."""
    controls: dict[Experiment, list[str]]
    """Experiment -> variants whose records also hold what costs as much again as the prediction: the slots that the truth would pick, as in
    the release's evaluation, and the concept quality that `control_sae` has on the same tokens. Correlated variants are among them."""
    oracle_thoughts: dict[Experiment, list[str]]
    """Experiment -> variants that are also evaluated with the gold thought in place of their own, an upper bound; only the embedded world
    has it."""


class BootstrapSettings(Section):
    """Intervals: resampling of images, not of sentences."""

    samples: Annotated[int, Field(ge=100)]
    level: OpenFraction
    seed: Count


class AcrossSettings(Section):
    """Variants whose runs' means are correlated with each other, such as those that read checkpoints of one dictionary."""

    name: str
    """What they are, in the report's words."""
    variants: Annotated[list[str], Field(min_length=3)]
    """Of `analysis.correlation.variants`, each once."""


class CorrelationSettings(Section):
    """Concept quality against mask accuracy (Figure 8)."""

    variants: dict[Experiment, list[str]]
    permutations: Annotated[int, Field(ge=1)]
    """Of whole images, for the null twin; the smallest p-value is 1 / (permutations + 1)."""
    across: Annotated[list[AcrossSettings], Field(default_factory=list, exclude_if=operator.not_)]
    """Sets of variants; a study may leave the key out."""


def _ascending(place: str, values: list[float]) -> None:
    if sorted(set(values)) != values:
        raise ValueError(f"analysis.intervention.{place}: list ascending values, each once")


Ablation = Literal["zero", "mean", "resample"]


class CurveSettings(Section):
    """The strongest concepts of a slot kept alone, or removed."""

    samples: dict[Ablation, Count]
    """What the other concepts become -> on how many expressions of a benchmark: nothing, their mean, or those of another sample."""
    fractions: list[OpenFraction]
    """Of a sample's active concepts; the ends 0 and 1 are always measured."""
    grid: Count
    """Of the expressions, on how many all fractions are measured; the others are measured at those with masks alone."""
    masks: list[OpenFraction]
    """The fractions at which masks are decoded too, beside the heat maps."""

    @model_validator(mode="after")
    def _masks_are_fractions(self) -> "CurveSettings":
        _ascending("curve.fractions", self.fractions)
        if unknown := set(self.masks) - set(self.fractions):
            raise ValueError(f"analysis.intervention.curve.masks: {min(unknown)} is not in curve.fractions")
        return self


class DoseSettings(Section):
    """A slot's leading concepts times a dose."""

    samples: Count
    concepts: PositiveInt
    """How many lead."""
    doses: Annotated[list[Annotated[float, Field(ge=0.0)]], Field(min_length=2)]
    """Ascending; 1 leaves the concepts as they are."""

    @model_validator(mode="after")
    def _doses_ascend(self) -> "DoseSettings":
        _ascending("dose.doses", self.doses)
        return self


class CompositionSettings(Section):
    """A slot's two leading concepts, alone and together."""

    samples: Count


class AttributionSettings(Section):
    """Contributions against removing each concept alone."""

    samples: Count
    mask_samples: Count
    """Of these, on how many the change of the mask is measured too."""
    ablated: PositiveInt
    """At most so many active concepts of a slot are removed alone, drawn where more are active."""


class TraceabilitySettings(Section):
    """What the listed contributions predict of an edit."""

    samples: Count
    listed: PositiveInt
    """Units of a slot's list: those that contribute most."""
    sizes: list[PositiveInt]
    """How many of them are removed; beside a random half."""


class InterventionSettings(Section):
    """Edits of frozen interfaces, on the cached answers of the policy. `samples` are expressions of a benchmark, taken in rounds over the
    images of its splits; 0 leaves an intervention out."""

    variants: list[str]
    """Variants of the interface experiment whose runs are edited."""
    splits: dict[str, list[str]]
    """Benchmark -> splits whose samples are edited. What edits are made with is taken from `val`, which must be evaluated too."""
    fitted: PositiveInt
    """Expressions of a benchmark's val split that mean codes and donors are taken from."""
    steps: PositiveInt
    """Of integrated gradients, at midpoints, shorter where codes are small."""
    codes_mib: PositiveInt
    """MiB that the codes of the samples at hand may take, all of whose concepts were active on all tokens; one sample at the least."""
    sham: Count
    """Expressions of a benchmark on which nothing is edited, to find nothing."""
    curve: CurveSettings
    dose: DoseSettings
    composition: CompositionSettings
    attribution: AttributionSettings
    traceability: TraceabilitySettings
    seed: Count


Difference = Annotated[str, Field(pattern=r"^[a-z0-9_]+ - [a-z0-9_]+$")]
"""`variant - other`."""


class FamilySettings(Section):
    """Tests that are corrected together (Holm), named before the run."""

    measure: Literal["gIoU", "thought accuracy", "considered thoughts", "valid answers"]
    """What is compared, on the test splits."""
    each: Literal["benchmark", "all"]
    """A test on each benchmark, or one on the mean of all benchmarks."""
    tests: list[Difference]


class AnalysisSettings(Section):
    """Statistics shared by correlation, interventions and tables."""

    bootstrap: BootstrapSettings
    families: dict[str, FamilySettings]
    """Families of tests by name."""
    reinforcement: list[Difference]
    """What training signals add, and the share of the gap to gold thoughts that they close."""
    correlation: CorrelationSettings
    edited_seeds: PositiveInt
    """How many seeds of a variant the causal battery edits, the first ones: both sections below."""
    intervention: InterventionSettings
    exchange: ExchangeSettings


class AtlasEffectSettings(Section):
    """What a concept does alone: removed and scaled, one at a time."""

    samples: Count
    """Expressions of each benchmark of `analysis.intervention.splits`, spread over their images."""
    concepts: PositiveInt
    """So many are removed: those with the greatest contributions by the gradient on these samples."""
    doses: list[Annotated[float, Field(ge=0.0)]]
    """Factors on a concept's codes, beside 0 and 1."""


class AtlasSettings(Section):
    """The concept atlas."""

    concepts: PositiveInt
    """At most so many are shown, those with the greatest sum of activations; fewer where the page would grow too large."""
    patches: PositiveInt
    """Of each kind that are shown of a concept: top ones, random ones, silent ones."""
    samples: Count
    """Test samples that are shown."""
    carriers: PositiveInt
    """Concepts that are listed of a leading slot."""
    pairs: Count
    """Of these, for how many the mask without the concept is shown."""
    effects: AtlasEffectSettings
    seed: Count
    """Of what is drawn at random."""


class CalibrationSettings(Section):
    """What contributions predict of edits, against what is observed."""

    bins: PositiveInt
    """Of equally many edits, by what was predicted."""
    tolerance: Annotated[float, Field(gt=0.0)]
    """An edit counts as predicted where the error is at most this share of the score before it."""


class ReportSettings(Section):
    """What the report shows."""

    qualitative_samples: Annotated[int, Field(ge=1, le=KEPT_HEAT_MAPS)]
    """Rows of the qualitative figure for each kind of expression: with one target, several and none. The first is in the middle by IoU, the
    others have the lowest."""
    qualitative_splits: Annotated[list[tuple[str, str]], Field(min_length=1)]
    """Benchmarks and splits that the qualitative figure draws from."""
    calibration: CalibrationSettings
    atlas: AtlasSettings
