"""Keys of the concept space: hook, activation cache and sparse autoencoders."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag

from segcompass.study.corpus import CorpusSettings
from segcompass.study.section import Section

Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class ActivationSettings(Section):
    """Which hidden states are cached, and how."""

    hook_layer: PositiveInt
    """l: the output of language-model block l, counted from 1 (paper section 3)."""
    scenes: PositiveInt
    """Training scenes whose tokens are cached; all instructions of a scene are."""
    shard_tokens: PositiveInt
    """Tokens per shard."""
    dtype: Literal["float16", "bfloat16", "float32"]
    """Of every cache: hidden states, answers, embeddings. `float16` has the most digits in two bytes but ends at 65,504, which hidden
    states of bfloat16 models pass: then the stage ends and names the value, and `bfloat16` holds it."""
    batch: PositiveInt
    """Sequences per forward pass."""
    on_the_fly: bool
    """Train dictionaries from the running backbone, without a cache: no disk, but each of them pays the forward passes of its tokens."""
    corpus: CorpusSettings | None = None
    """Images with text in the place of the benchmarks' training expressions, the first `scenes` usable ones. A study may
    leave the key out: then these expressions are read."""


class SoftFrozen(Section):
    """The decoder is trained, but each row stays near its random start."""

    soft_frozen: Annotated[float, Field(gt=-1.0, lt=1.0)]
    """Least cosine between a decoder row and its random start (0.8 in Korznikov et al., 2026)."""


DecoderTraining = Annotated[
    Annotated[Literal["trained", "frozen"], Tag("word")] | Annotated[SoftFrozen, Tag("mapping")],
    Discriminator(lambda value: "mapping" if isinstance(value, dict | SoftFrozen) else "word"),
]
"""What training does to decoder rows, which start at random with unit norm: `trained`, `frozen` (they stay; encoder and biases learn), or
`{soft_frozen: 0.8}`."""


class ReluL1(Section):
    """The paper's dictionary: ReLU codes, L1 weighted by decoder-column norm."""

    architecture: Literal["relu_l1"]
    width: PositiveInt
    """F, number of concepts."""
    decoder: DecoderTraining
    l1_coefficient: PositiveFloat
    initial_density: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Share of the tokens on which each concept is active before training (Anthropic, January 2025)."""
    revival_coefficient: Annotated[float, Field(ge=0.0)]
    """Weight of the loss that drives silent concepts towards their thresholds (Anthropic, January 2025); 0 for none."""
    dead_after_tokens: PositiveInt
    """A concept silent for this many tokens counts as dead."""


class TopK(Section):
    """Keeps the k largest pre-activations of a token."""

    architecture: Literal["topk"]
    width: PositiveInt
    decoder: DecoderTraining
    k: PositiveInt
    auxiliary_coefficient: Annotated[float, Field(ge=0.0)]
    """Weight of the loss that lets dead features explain the residual."""
    dead_after_tokens: PositiveInt
    """A feature silent for this many tokens counts as dead."""


class BatchTopK(Section):
    """Keeps the k * T largest pre-activations of a batch of T tokens."""

    architecture: Literal["batchtopk"]
    width: PositiveInt
    decoder: DecoderTraining
    k: PositiveInt
    auxiliary_coefficient: Annotated[float, Field(ge=0.0)]
    dead_after_tokens: PositiveInt


class JumpRelu(Section):
    """A learnt threshold a concept, under an L0 penalty."""

    architecture: Literal["jumprelu"]
    width: PositiveInt
    decoder: DecoderTraining
    l0_coefficient: Annotated[float, Field(ge=0.0)]
    bandwidth: PositiveFloat
    """Width of the kernel through which thresholds get their gradient, in units of normalised activations."""
    initial_threshold: PositiveFloat
    revival_coefficient: Annotated[float, Field(ge=0.0)]
    """Weight of the loss that drives silent concepts towards their thresholds (Anthropic, January 2025); 0 for none."""
    dead_after_tokens: PositiveInt
    """A concept silent for this many tokens counts as dead."""


class RandomDictionary(Section):
    """Control: an untrained dictionary whose thresholds make its L0 that of `like` on visual, instruction and thought tokens each."""

    architecture: Literal["random"]
    like: str
    """Name of the trained, sparse dictionary whose width and L0 are copied."""


class DenseMap(Section):
    """Control: a dense, linear map with the same number of parameters, trained to reconstruct."""

    architecture: Literal["dense"]
    width: PositiveInt


class Pca(Section):
    """Control: principal components of the hidden states."""

    architecture: Literal["pca"]
    width: PositiveInt
    """F, number of components; at most the width of the hidden states."""


class Neurons(Section):
    """Control: hidden units themselves, of which each token keeps as many as `like` has active concepts on average."""

    architecture: Literal["neurons"]
    like: str
    """Name of the trained, sparse dictionary whose L0 is copied."""


Trained = ReluL1 | TopK | BatchTopK | JumpRelu
"""Sparse dictionaries that are trained, whose L0 a control may copy."""
Dictionary = Annotated[Trained | RandomDictionary | DenseMap | Pca | Neurons, Field(discriminator="architecture")]


class SaeTrainingSettings(Section):
    """Training of every dictionary (paper section 2, stage 1)."""

    seed: Count
    activation_scale: Literal["mean_norm", "none"]
    """Whether activations are divided by a constant that makes their mean norm sqrt(d) (Anthropic, 2024)."""
    decoder_norm: Literal["unit", "free"]
    """Decoder rows of unit norm after every step (Bricken et al., 2023), or as the loss leaves them (the paper)."""
    decoder_bias: Literal["geometric_median", "mean", "zero"]
    """b_dec before training (geometric median: Bricken et al., 2023)."""
    steps: PositiveInt
    batch_tokens: PositiveInt
    """Tokens of a step, of all processes together."""
    learning_rate: PositiveFloat
    warmup_fraction: Fraction
    final_fraction: Fraction
    clip_norm: PositiveFloat
    held_out_fraction: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Share of the images held out for the reported numbers."""
    buffer_tokens: PositiveInt
    """Tokens of the shuffle buffer: the bound on the trainer's memory."""
    checkpoint_every: PositiveInt
