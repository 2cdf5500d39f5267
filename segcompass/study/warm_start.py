"""Keys of the warm start: supervised answers that teach a pretrained policy the form which joint training rewards."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from segcompass.study.section import Section

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class WarmStartSettings(Section):
    """Supervised training of what joint training trains of the policy, before anything else reads it; prompts are those of
    `answers.benchmarks`."""

    steps: PositiveInt
    prompts: PositiveInt
    """Prompts per step."""
    learning_rate: PositiveFloat
    """Peak rate of AdamW."""
    warmup_fraction: Fraction
    final_fraction: Fraction
    """Learning rate at the end as a share of its peak."""
    clip_norm: PositiveFloat
    samples: PositiveInt
    """Held-out samples, of the val splits and spread evenly over the benchmarks, whose greedy answers are judged before and after."""
    least_valid: Fraction
    """Share of them whose answer must keep the form afterwards, in each benchmark; below it the stage fails."""
    seed: Annotated[int, Field(ge=0)]
    """Of the prompts' order, the wording of thoughts and the choice of held-out samples."""
    checkpoint_every: PositiveInt
    """Steps from one resume point to the next."""
