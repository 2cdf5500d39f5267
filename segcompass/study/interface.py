"""Keys of the interface experiment: the concept interface, trained and evaluated on answers of a policy that never changes."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from segcompass.study.backbone import PhaseSettings
from segcompass.study.section import Section

Weight = Annotated[float, Field(ge=0.0)]


class AnswersSettings(Section):
    """Answers of the base policy to training prompts, computed once per study and read by every variant and seed."""

    benchmarks: list[str]
    """Benchmarks whose train split is trained on, here and in joint training; ReasonSeg stays zero-shot."""
    prompts: PositiveInt
    """Training prompts that are answered."""
    thoughts: Literal["gold", "policy"]
    """Whose words the answers have: gold thoughts, in their considered and their hasty form by turns, so that an interface learns to read
    what a thought names, or the policy's own greedy ones. Photographs have no gold thoughts."""
    batch: PositiveInt
    """Answers computed at a time."""
    seed: Annotated[int, Field(ge=0)]
    """Of the choice of prompts."""


class ModelSettings(Section):
    """Query codebook and slot mapper, what they read, and the cuts of the control variants."""

    sae: str
    """Name of the dictionary under `saes`; its layer is the hook's."""
    segmenter: str
    """Name of the SAM under `backbone.segmenters`."""
    readout: Literal["concepts", "words", "references"]
    """What slots are made from: codes of the dictionary; the words of the thought, by a text encoder trained beside, as Seg-Zero reads
    them out; or the reference states alone, by a perceptron with as many parameters as the codebook has rows, the latent-query road of
    LISA."""
    codebook: Literal["queries", "pooled"]
    """`queries`: the paper's; `pooled`: slots are a multilayer perceptron of the mean token, with as many parameters."""
    rows: Literal["dictionary", "random"]
    """What the codebook's rows begin as: the dictionary's directions, or random draws."""
    mapper: Literal["fused", "dot"]
    """`fused`: the paper's; `dot`: one dot product of slot and image embedding, without heads and convolutions."""
    thought_codes: bool
    """Show the codebook the codes of the thought; false leaves those of image and instruction."""
    slots: PositiveInt
    """K, at most `answer.slots`: how many of the answer's reference tokens become masks, the first ones."""
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
    """Feed r_k, the last hidden state of the reference token, to the slot mapper; false leaves slots as the only road."""

    @model_validator(mode="after")
    def _one_road(self) -> "ModelSettings":
        if self.readout == "references" and not self.reference_state:
            raise ValueError("interface.model: readout `references` reads the reference states; keep reference_state true")
        return self


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


class InterfacePhase(PhaseSettings):
    """One phase of the interface's training."""

    steps: Annotated[int, Field(ge=0)]
    """0: the phase is left out."""


class InterfaceTraining(Section):
    """Two phases on cached answers: heat maps and confidences, then masks. Without any step an interface stays as it was drawn."""

    heat_maps: InterfacePhase
    """Codebook and slot mapper on heat maps and confidences; SAM is not run."""
    masks: InterfacePhase
    """The same parts with SAM's prompt encoder and mask decoder, on all losses."""
    targets: Literal["own", "shuffled"]
    """Whose objects a prompt's answer is taught: its own, or those of another prompt, drawn once by the seed, which nothing that is read
    names: the null twin, in which no effect of concepts can be found."""
    checkpoint_every: PositiveInt
    """Steps from one resume point to the next."""


class InterfaceSettings(Section):
    """One variant of the interface experiment; the reference is the paper's interface."""

    model: ModelSettings
    training: InterfaceTraining
    segmentation: SegmentationSettings
