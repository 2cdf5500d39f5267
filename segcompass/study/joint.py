"""Keys of joint training: GRPO on the policy plus supervised segmentation (paper section 2, stage 2)."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from segcompass.study.section import Section

Weight = Annotated[float, Field(ge=0.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class RewardSettings(Section):
    """Weights of the reward's two parts; they add to one (Table 6)."""

    format: Fraction
    mask: Fraction


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
    reward: RewardSettings


class SegmentationSettings(Section):
    """Supervised losses after Hungarian matching on soft IoU."""

    weight: Weight
    """lambda_s."""
    heat_bce: Weight
    heat_dice: Weight
    mask_dice: Weight
    mask_focal: Weight
    confidence: Weight
    """lambda_c, BCE of the slot confidence to "matched"."""
    match_confidence: Weight
    """Weight of a slot's confidence beside soft IoU when slots are matched to objects; 0 is the paper's matching."""


class InterfaceSettings(Section):
    """Query codebook and slot mapper."""

    sae: str
    """Name of the dictionary under `saes`."""
    query_width: PositiveInt
    """d_q."""
    query_heads: PositiveInt
    query_layers: PositiveInt
    threshold: Weight
    """tau: codes below it are zeroed before the codebook."""
    mapper_heads: PositiveInt
    """Dot-product heads of the slot mapper."""
    reference_state: bool
    """Feed r_k, the last hidden state of the reference token, to the slot mapper; false leaves concepts as the only road."""


class LearningRates(Section):
    """Peak learning rate of each trained part."""

    language: PositiveFloat
    codebook: PositiveFloat
    mapper: PositiveFloat
    prompt_encoder: PositiveFloat
    mask_decoder: PositiveFloat


class JointSettings(Section):
    """One variant of joint training; `full` is the paper's model."""

    benchmarks: list[str]
    """Benchmarks whose train split is trained on; ReasonSeg stays zero-shot."""
    steps: PositiveInt
    prompts: PositiveInt
    """Prompts per step."""
    warmup_fraction: Fraction
    final_fraction: Fraction
    clip_norm: PositiveFloat
    learning_rates: LearningRates
    interface: InterfaceSettings
    policy: PolicySettings
    segmentation: SegmentationSettings
    checkpoint_every: PositiveInt
