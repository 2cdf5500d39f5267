"""Keys of evaluation, of the concept study, of the causal battery and of the report."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from segcompass.study.exchange import ExchangeSettings
from segcompass.study.experiments import Experiment
from segcompass.study.section import Section

Count = Annotated[int, Field(ge=0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
KEPT_HEAT_MAPS = 16
"""Heat maps kept of each evaluated split: those of the first samples of as many images."""


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
    """The untrained dictionary whose concept quality is recorded beside the trained one's."""
    oracle_thoughts: dict[Experiment, list[str]]
    """Experiment -> variants that are also evaluated with the gold thought in place of their own, an upper bound; only the embedded world
    has it."""


class BootstrapSettings(Section):
    """Intervals: resampling of images, not of sentences."""

    samples: Annotated[int, Field(ge=100)]
    level: OpenFraction
    seed: Count


class CorrelationSettings(Section):
    """Concept quality against mask accuracy (Figure 8)."""

    variants: dict[Experiment, list[str]]
    permutations: Annotated[int, Field(ge=1)]
    """Of whole images, for the null twin; the smallest p-value is 1 / (permutations + 1)."""


class InterventionSettings(Section):
    """Edits of frozen interfaces, on the cached answers of the policy."""

    variants: list[str]
    """Variants of the interface experiment whose runs are edited."""
    splits: dict[str, list[str]]
    samples: PositiveInt
    """Expressions per split, the first ones of the manifest."""
    top_concepts: list[PositiveInt]
    """m: how many of a slot's strongest concepts are zeroed, against m matched random ones."""
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
    intervention: InterventionSettings
    exchange: ExchangeSettings


class ReportSettings(Section):
    """What the report shows."""

    qualitative_samples: Annotated[int, Field(ge=1, le=KEPT_HEAT_MAPS)]
    """Rows of the qualitative figure."""
    qualitative_split: tuple[str, str]
    """Benchmark and split that the qualitative figure draws from."""
