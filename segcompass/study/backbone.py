"""Keys of the backbones: the vision-language model and SAM, embedded or pretrained."""

import re
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from segcompass.instruction_set import InstructionSet
from segcompass.study.section import Section

Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NAME = re.compile(r"[a-z0-9_]+")
"""A smaller SAM's name, which is a folder's and part of its phases' and scores' names."""


class TowerSettings(Section):
    """A transformer's size."""

    layers: PositiveInt
    width: PositiveInt
    heads: PositiveInt
    mlp_width: PositiveInt


class VisionLanguageSettings(Section):
    """The embedded `LlavaForConditionalGeneration`."""

    image_size: PositiveInt
    """Side of the square, padded input in pixels."""
    patch_size: PositiveInt
    vision: TowerSettings
    language: TowerSettings
    max_positions: PositiveInt
    """Longest sequence of the language model in tokens."""


class SegmenterSettings(Section):
    """The embedded `SamModel`; its low-resolution masks have side 4 * image_size / patch_size."""

    image_size: PositiveInt
    """Side in pixels to which the longer image side is scaled (the shorter one is padded)."""
    patch_size: PositiveInt
    vision: TowerSettings
    channels: PositiveInt
    """Channels of the image embedding and of the mask decoder."""


class PhaseSettings(Section):
    """One training phase: Muon for hidden matrices, AdamW for the rest, linear warm-up, cosine decay."""

    steps: PositiveInt
    batch: PositiveInt
    """Images per step."""
    learning_rate: PositiveFloat
    """Peak rate of AdamW: embeddings, read-outs, norms, biases, convolutions."""
    matrix_learning_rate: PositiveFloat
    """Peak rate of Muon: hidden matrices."""
    weight_decay: Annotated[float, Field(ge=0.0)]
    warmup_fraction: Fraction
    final_fraction: Fraction
    """Learning rate at the end as a share of its peak."""
    clip_norm: PositiveFloat


class HabitSettings(PhaseSettings):
    """Two ways of answering taught side by side: the base policy's planted weakness, which reward can mend."""

    considered_share: Fraction
    """Share of the answers that consider before they name a target; the others are hasty."""
    mistaken_if_tempting: Fraction
    """Share of the hasty answers that name the decoy where it is tempting; above a half, greedy ones do."""
    mistaken_otherwise: Fraction
    """The same where it is not."""
    broken_form: Fraction
    """Share of the answers about at most one object that hold a reference token too many or too few."""
    broken_form_several: Fraction
    """The same about several objects."""


class SmallerSettings(Section):
    """Phases of each smaller SAM, which begins with everything but the image encoder from the trained largest one."""

    encoder: PhaseSettings
    """The image encoder on dense targets."""
    together: PhaseSettings
    """Encoder, prompt encoder and mask decoder on dense targets and on mask prompts at once."""


class BackboneTrainingSettings(Section):
    """The recipe of the embedded backbone, phase by phase."""

    scenes: PositiveInt
    """Scenes that the backbone is trained on; they are in no split of the data."""
    sam_scenes: PositiveInt
    """How many of them, the first ones, SAM is trained on."""
    vision: PhaseSettings
    """Vision tower on dense patch targets: colour, shape, size, pattern, place, foreground, row and column of the object's centre."""
    projector: PhaseSettings
    """Projector: patches near the embeddings of the words for what they show."""
    language: PhaseSettings
    """Language model and projector on captions, facts and gold thoughts."""
    habits: HabitSettings
    """The same parts on captions, facts, and two ways of answering."""
    segments_per_image: PositiveInt
    """Texts packed behind one shared image prefix."""
    caption_share: Fraction
    """Share of the language steps that see captions and facts only, before instructions join them."""
    encoder: PhaseSettings
    """SAM's image encoder on dense targets."""
    masks: PhaseSettings
    """SAM's encoder, prompt encoder and mask decoder on blurred, noisy mask prompts."""
    together: PhaseSettings
    """The same parts on the encoder's dense targets and on mask prompts at once."""
    prompts_per_image: PositiveInt
    """Objects of an image that prompt SAM in one step."""
    smaller: SmallerSettings


class EmbeddedBackbone(Section):
    """The embedded backbone: built from the embedded world by the recipe below, or taken as the recipe's shipped result."""

    source: Literal["build", "shipped"]
    folder: str
    """Where the shipped models lie, each in a folder of its part's name, with the card that says how they were made."""
    taken: list[str]
    """Parts (`vlm`, and the SAMs by name) that a build takes from `folder` instead of training them again."""
    seed: Count
    vlm: VisionLanguageSettings
    sam: SegmenterSettings
    smaller_sams: dict[str, TowerSettings]
    """Smaller image encoders by the name of their SAM (Table 5); the rest of each is that of `sam`."""
    training: BackboneTrainingSettings
    checkpoint_every: PositiveInt
    """Steps between resume points."""

    @property
    def segmenters(self) -> list[str]:
        """Names of the SAMs, the largest first: folders of the artefact."""
        return ["sam", *self.smaller_sams]

    @property
    def built(self) -> list[str]:
        """Parts that a build trains, in the order in which they are made."""
        return [part for part in ("vlm", *self.segmenters) if part not in self.taken]


class PretrainedBackbone(Section):
    """Use checkpoints that lie on disk in the format of transformers."""

    source: Literal["pretrained"]
    vlm_path: str
    """Folder that `from_pretrained` of the vision-language model loads."""
    sam_path: str
    """Folder that `SamModel.from_pretrained` loads."""
    smaller_sams: dict[str, str]
    """The same of smaller SAMs, by name (Table 5)."""

    @property
    def segmenters(self) -> list[str]:
        """Names of the SAMs, the largest first: folders of the artefact."""
        return ["sam", *self.smaller_sams]


BackboneSettings = Annotated[EmbeddedBackbone | PretrainedBackbone, Field(discriminator="source")]


class RuntimeSettings(Section):
    """How models run; the same for every stage that loads one."""

    device: Literal["cpu", "cuda"]
    dtype: Literal["float32", "bfloat16"]
    """Of frozen weights and of the backbones' arithmetic; trained weights, codes and losses are always float32."""
    attention: Literal["eager", "sdpa", "flash_attention_2"]
    """`attn_implementation` of transformers; flash attention needs `cuda` and `bfloat16`."""
    gradient_checkpointing: bool
    """Recompute the trained language blocks in the backward pass instead of keeping their activations."""
    instruction_set: InstructionSet
    """Instructions of the processor that torch, NumPy and SciPy may use, in every job: `avx2` gives the same bytes wherever there is AVX2,
    `native` takes all that the processor has, `default` what every x86 processor has."""


class AnswerSettings(Section):
    """The one place that states what an answer looks like: a thought, then `slots` reference tokens."""

    slots: PositiveInt
    """K, reference tokens and masks per answer."""
    max_thought_tokens: PositiveInt
    """Longest thought that is generated, its two tags included."""

    @property
    def longest(self) -> int:
        """Tokens of the longest answer: thought, K reference tokens, end."""
        return self.max_thought_tokens + self.slots + 1


def given_models(backbone: EmbeddedBackbone | PretrainedBackbone) -> dict[str, str]:
    """Part (`vlm`, and the SAMs by name) -> folder, of the parts that are not trained."""
    if isinstance(backbone, PretrainedBackbone):
        return {"vlm": backbone.vlm_path, "sam": backbone.sam_path} | backbone.smaller_sams
    parts = backbone.taken if backbone.source == "build" else ("vlm", *backbone.segmenters)
    return {part: f"{backbone.folder}/{part}" for part in parts}


def backbone_contradictions(backbone: EmbeddedBackbone | PretrainedBackbone) -> list[str]:
    """What of the backbone's keys cannot be, one sentence each."""
    found = [
        f"backbone.smaller_sams: `{name}` cannot name a folder beside `vlm` and `sam`; take another name of letters, digits and `_`"
        for name in backbone.smaller_sams
        if name in ("vlm", "sam") or not NAME.fullmatch(name)
    ]
    if isinstance(backbone, PretrainedBackbone):
        return found
    for part in (backbone.vlm, backbone.sam):
        if part.image_size % part.patch_size:
            found.append("backbone: image_size must be a multiple of patch_size")
    parts = ("vlm", *backbone.segmenters)
    found += [f"backbone.taken: `{part}` is no part; choose from {', '.join(parts)}" for part in backbone.taken if part not in parts]
    if backbone.source == "build" and not backbone.built:
        found.append("backbone.taken: names every part, so nothing is left to build; set backbone.source to shipped")
    return found
