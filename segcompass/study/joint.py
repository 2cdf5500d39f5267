"""Keys of the training-signal experiment: GRPO on the policy plus supervised segmentation (paper section 2, stage 2)."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from segcompass.study.interface import SegmentationSettings
from segcompass.study.section import Section

Weight = Annotated[float, Field(ge=0.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class RewardSettings(Section):
    """Weights of the reward's two parts, which add to one (Table 6), and how masks are rewarded."""

    format: Fraction
    mask: Fraction
    gated: bool
    """Whether a mask earns nothing where the answer breaks the form; false scores the nearest well-formed answer, so that a weight of 0
    for the form really ignores it."""
    mask_power: PositiveFloat
    """The mask reward is raised to this power: 1 is the paper's; LENS squares the IoU."""

    @model_validator(mode="after")
    def _adds_to_one(self) -> "RewardSettings":
        if abs(self.format + self.mask - 1.0) > 1e-9:
            raise ValueError("joint.policy.reward: format and mask must add to 1")
        return self


class PolicySettings(Section):
    """Group-relative policy optimisation."""

    weight: Weight
    """0 switches reinforcement learning off; rollouts and the KL term stay, so that the reward alone differs."""
    group: Annotated[int, Field(ge=1)]
    """G, rollouts per prompt (Figure 6)."""
    temperature: PositiveFloat
    clip: PositiveFloat
    kl: Weight
    """Weight of the low-variance KL estimate to the frozen reference."""
    advantages: Literal["scaled", "centred"]
    """`scaled`: divided by the deviation within the group (the paper's GRPO); `centred`: not, as in Dr. GRPO, because a division turns a
    group whose rewards hardly differ into full-sized advantages."""
    live_groups: bool
    """Take the policy's loss over the groups whose rewards differ (DAPO's dynamic sampling, without its second draw), or over all."""
    rewards: Literal["own", "permuted"]
    """`permuted`: rewards are permuted over the batch's rollouts before anything is made of them, the null twin `random_reward`."""
    reward: RewardSettings


class LearningRates(Section):
    """Peak learning rate of each trained part."""

    language: PositiveFloat
    codebook: PositiveFloat
    mapper: PositiveFloat
    prompt_encoder: PositiveFloat
    mask_decoder: PositiveFloat


class ClipNorms(Section):
    """Greatest gradient norm of the policy's part and of the others, each clipped alone: one would swamp the other."""

    language: PositiveFloat
    others: PositiveFloat


class ValidationSettings(Section):
    """What a run is watched on: samples of the val splits of the study's benchmarks, the same ones for every variant and seed."""

    every: PositiveInt
    """Steps from one validation to the next; one more stands before the first step, and one behind the last."""
    samples: PositiveInt
    """Number of samples, spread evenly over the benchmarks."""
    seed: Annotated[int, Field(ge=0)]
    """Of their choice."""


class JointSettings(Section):
    """One variant of joint training; `full` is the paper's model."""

    interface: str
    """The variant of the interface experiment whose keys a run has, and whose trained interface of the same seed it starts from."""
    start: Literal["trained", "drawn"]
    """`trained`: from that run; `drawn`: from the same interface untrained, as the paper does."""
    steps: PositiveInt
    prompts: PositiveInt
    """Prompts per step."""
    pool: PositiveInt
    """Different prompts that a run sees, the first ones of its seeded order; fewer than it draws are seen more than once."""
    warmup_fraction: Fraction
    final_fraction: Fraction
    clip_norm: ClipNorms
    learning_rates: LearningRates
    segmentation_gradient: Fraction
    """Share of the segmentation losses' gradient that reaches the policy through the reference states: 1 is the paper's."""
    policy: PolicySettings
    segmentation: SegmentationSettings
    validation: ValidationSettings
    checkpoint: Literal["last", "best_on_val"]
    """The weights that a run ends with: those of the last step, or of the best gIoU on the validation samples (the earlier of equals).

    With `best_on_val` the numbers on val are chosen by themselves, and too high; those on test are not. No rule can look at test: training
    reads train and val alone.
    """
    checkpoint_every: PositiveInt
    """Steps from one resume point to the next."""
