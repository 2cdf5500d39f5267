"""Keys of joint training: GRPO on the policy plus supervised segmentation (paper section 2, stage 2)."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from segcompass.study.backbone import PhaseSettings
from segcompass.study.section import Section

Weight = Annotated[float, Field(ge=0.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class RewardSettings(Section):
    """Weights of the reward's two parts; they add to one (Table 6)."""

    format: Fraction
    mask: Fraction

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
    """Query codebook and slot mapper, and the cuts of the control variants."""

    sae: str
    """Name of the dictionary under `saes`."""
    readout: Literal["concepts", "text"]
    """`text`: no concept interface at all; the place words of the thought become a box that prompts SAM, as in Seg-Zero."""
    codebook: Literal["queries", "pooled"]
    """`queries`: the paper's; `pooled`: slots are a multilayer perceptron of the mean token, with as many parameters."""
    rows: Literal["dictionary", "random"]
    """What the codebook's rows begin as: the dictionary's directions, or random draws."""
    mapper: Literal["fused", "dot"]
    """`fused`: the paper's; `dot`: one dot product of slot and image embedding, without heads and convolutions."""
    thought_codes: bool
    """Show the codebook the codes of the thought; false leaves those of image and instruction."""
    slots: bool
    """Feed the slots to the slot mapper; false leaves the reference states as the only road, as in LISA."""
    query_width: PositiveInt
    """d_q."""
    query_heads: PositiveInt
    query_layers: PositiveInt
    threshold: Weight
    """tau: codes below it are zeroed before the codebook."""
    mapper_heads: PositiveInt
    """Dot-product heads of the slot mapper."""
    mapper_head_width: PositiveInt
    """Channels of each of them."""
    reference_state: bool
    """Feed r_k, the last hidden state of the reference token, to the slot mapper; false leaves concepts as the only road."""

    @model_validator(mode="after")
    def _some_road(self) -> "InterfaceSettings":
        if not self.slots and not self.reference_state:
            raise ValueError("joint.interface: slots and reference_state are both false, so nothing reaches the masks; keep one")
        return self


class LearningRates(Section):
    """Peak learning rate of each trained part."""

    language: PositiveFloat
    codebook: PositiveFloat
    mapper: PositiveFloat
    prompt_encoder: PositiveFloat
    mask_decoder: PositiveFloat


class WarmUpSettings(PhaseSettings):
    """Training of the concept interface on cached answers of the base policy, before joint training."""

    steps: Annotated[int, Field(ge=0)]
    """0: none, as in the paper."""
    prompts: PositiveInt
    """Training prompts that the base policy answers once, for all variants and seeds."""
    answer_batch: PositiveInt
    """Prompts answered at a time."""
    seed: Annotated[int, Field(ge=0)]
    """Of the choice of prompts."""


class ValidationSettings(Section):
    """What a run is watched on: samples of the val splits of the joint benchmarks, the same ones for every variant and seed."""

    every: PositiveInt
    """Steps from one validation to the next; one more stands before the first step, and one behind the last."""
    samples: PositiveInt
    """Number of samples, spread evenly over the benchmarks."""
    seed: Annotated[int, Field(ge=0)]
    """Of their choice."""


class JointSettings(Section):
    """One variant of joint training; `full` is the paper's model."""

    benchmarks: list[str]
    """Benchmarks whose train split is trained on; ReasonSeg stays zero-shot."""
    steps: Annotated[int, Field(ge=0)]
    """0 leaves a variant as it was drawn: the lower bound `untrained`."""
    prompts: PositiveInt
    """Prompts per step."""
    warmup_fraction: Fraction
    final_fraction: Fraction
    clip_norm: PositiveFloat
    learning_rates: LearningRates
    interface: InterfaceSettings
    warm_up: WarmUpSettings
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

    def answered(self) -> dict[str, Any]:
        """The keys that decide which prompts `cache_answers` answers, and how; its artefact is shared, so no variant may change them."""
        warm_up = self.warm_up.model_dump(mode="json", include={"prompts", "answer_batch", "seed"})
        return {"benchmarks": self.benchmarks, "warm_up": warm_up}
