"""Operations, bytes that decoding reads, and GPU hours that follow from a stated utilisation; work of the stages that make dictionaries.

A product of matrices counts two operations a weight and position; a backward pass costs twice its forward pass, and once more where blocks
are recomputed. Attention counts every pair of positions, as the kernels do that get a mask.
Decoding is bound by memory, not by arithmetic: each step reads all language weights once for the whole batch, and the stored keys and
values. Shape letters as in memory.py.
"""

from dataclasses import dataclass

from segcompass.footprint.architecture import Backbone, LanguageModel, SegmenterSize
from segcompass.footprint.memory import answer_lengths, dictionary_of, dictionary_width, dtype_bytes
from segcompass.study.jobs import sae_layer
from segcompass.study.study import Study


@dataclass(frozen=True)
class Gpu:
    """A GPU's published peaks."""

    name: str
    memory: float
    """Bytes."""
    half: float
    """bfloat16 operations a second, dense."""
    single: float
    """float32 operations a second; torch does not use the faster TF32 of its own accord."""
    bandwidth: float
    """Bytes a second between its memory and its cores."""


A100 = Gpu("A100, 80 GB, SXM", 80e9, 312e12, 19.5e12, 2.039e12)
UTILISATION = 0.4
"""Stated, not measured: share of a peak that a stage reaches."""

OUTPUT_TOKENS = 5
"""Of SAM's mask decoder: four masks and their quality."""


@dataclass(frozen=True)
class Work:
    """Operations in half and single precision, and bytes read while decoding."""

    half: float = 0.0
    single: float = 0.0
    read: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.half + other.half, self.single + other.single, self.read + other.read)

    def __mul__(self, times: float) -> "Work":
        return Work(self.half * times, self.single * times, self.read * times)

    def hours(self, gpu: Gpu, utilisation: float) -> float:
        """GPU hours: the three kinds follow each other."""
        seconds = self.half / gpu.half + self.single / gpu.single + self.read / gpu.bandwidth
        return seconds / utilisation / 3600


def blocks_forward(language: LanguageModel, blocks: int, length: int) -> float:
    """Operations of `blocks` blocks over one sequence: two a weight and token, and both attention products over all pairs."""
    return blocks * (2.0 * language.block * length + 4.0 * length**2 * language.query_width)


def decoding(language: LanguageModel, prompt: int, answer: int, group: int) -> float:
    """Operations of one sampled answer behind a stored prompt, head included; keys of its group's other answers are masked, not skipped."""
    pairs = answer * prompt + group * answer * (answer + 1) / 2
    per_token = language.layers * 2.0 * language.block + 2.0 * language.head
    return answer * per_token + language.layers * 4.0 * pairs * language.query_width


def decoding_reads(language: LanguageModel, prompts: int, group: int, prompt: int, answer: int, number: int) -> float:
    """Bytes that decoding a batch of b prompts with G rollouts each reads; `number` bytes a weight."""
    weights = (language.layers * language.block + language.head) * number
    stored = prompts * (prompt + group * (answer + 1) / 2)
    return answer * (weights + 2.0 * language.layers * language.key_value_width * stored * number)


def encoder_forward(segmenter: SegmenterSize) -> float:
    """Operations of SAM's image encoder over one image; windows are padded to whole ones."""
    tokens, window = segmenter.grid**2, segmenter.window
    padded = (-(-segmenter.grid // window) * window) ** 2 if window else tokens
    attention = segmenter.global_layers * tokens**2 + (segmenter.layers - segmenter.global_layers) * padded * window**2
    return 2.0 * segmenter.encoder * tokens + 4.0 * attention * segmenter.width


def mask_forward(segmenter: SegmenterSize) -> float:
    """Operations of prompt road and mask decoder for one mask, on the cells of the g x g grid; output tokens alone are left out."""
    c, cells, first, second = segmenter.channels, segmenter.grid**2, segmenter.prompt_channels // 4, segmenter.prompt_channels
    prompt = 2.0 * first * 4 * 4 + 2.0 * first * second * 4 + 2.0 * second * c
    projections = 5 * 2 * 2.0 * c * (c // 2)
    attention = 5 * 4.0 * OUTPUT_TOKENS * (c // 2)
    upscaling = 2.0 * c * (c // 4) * 4 + 2.0 * (c // 4) * (c // 8) * 16
    masks = (OUTPUT_TOKENS - 1) * 2.0 * (c // 8) * 16
    return cells * (prompt + projections + attention + upscaling + masks)


def cache_work(study: Study, backbone: Backbone, expressions: int, layer: int) -> Work:
    """`cache_activations` of one layer: an answer of each expression, then the pass that gives its hidden states."""
    return _read_work(study, backbone, expressions, layer, study.activations.batch)


def labelling_work(study: Study, backbone: Backbone) -> Work:
    """`label_tokens`: the same of the scored scenes' expressions."""
    tokens = study.concepts.tokens
    expressions = (tokens.scenes.train + tokens.scenes.val) * tokens.expressions
    return _read_work(study, backbone, expressions, study.activations.hook_layer, tokens.batch)


def _read_work(study: Study, backbone: Backbone, expressions: int, layer: int, batch: int) -> Work:
    language, (prompt, answer) = backbone.language, answer_lengths(study, backbone)
    once = 2 * vision_forward(backbone) + blocks_forward(language, language.layers, prompt) + decoding(language, prompt, answer, 1)
    once += blocks_forward(language, layer, prompt + answer)
    reads = decoding_reads(language, batch, 1, prompt, answer, dtype_bytes(study.runtime))
    return arithmetic(study, once * expressions) + Work(read=reads * expressions / batch)


def dictionary_work(study: Study, backbone: Backbone, name: str) -> Work:
    """`train_sae`: encoder and decoder products, forward and backward; nothing for the untrained control."""
    if dictionary_of(study, name).architecture == "random":
        return Work()
    width = backbone.language.width
    return Work(single=3 * 4.0 * width * dictionary_width(study, name, width) * training_tokens(study, name))


def training_tokens(study: Study, name: str) -> int:
    """Tokens that a dictionary is trained on; those of the sweep have steps of their own."""
    steps = study.sweep.steps if name in study.swept() else study.sae_training.steps
    return steps * study.sae_training.batch_tokens


def on_the_fly_work(study: Study, backbone: Backbone, name: str, expressions: int, tokens: int) -> Work:
    """`train_sae` without a cache of `tokens` tokens: forward passes of all tokens that it reads, and at most all of them once more for the
    held-out images; the untrained control fills the shuffle buffer alone."""
    untrained = dictionary_of(study, name).architecture == "random"
    read = study.sae_training.buffer_tokens if untrained else training_tokens(study, name)
    passes = cache_work(study, backbone, expressions, sae_layer(study, name))
    return dictionary_work(study, backbone, name) + passes * (read / tokens + 1)


def vision_forward(backbone: Backbone) -> float:
    """Operations of the vision tower and projector over one image; attention within the tower, below a tenth of it, is left out."""
    return 2.0 * backbone.vision.parameters * backbone.vision.patches + 2.0 * backbone.vision.projector * backbone.vision.tokens


def arithmetic(study: Study, operations: float) -> Work:
    """Work of the backbones, in the study's dtype."""
    return Work(single=operations) if study.runtime.dtype == "float32" else Work(half=operations)
