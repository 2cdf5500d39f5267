"""Work of every stage that runs a model: operations, bytes that decoding reads, and the GPU hours that follow from a stated utilisation.

A product of matrices counts two operations a weight and position; a backward pass costs twice its forward pass, and once more where blocks
are recomputed. Attention counts every pair of positions, as the kernels do that get a mask. Two upper bounds: answers are as long as they
may be, and in training some answer of a batch breaks the form, so that the well-formed answers need a pass of their own.
Decoding is bound by memory, not by arithmetic: each step reads all language weights once for the whole batch, and the stored keys and
values. Shape letters as in memory.py.
"""

from dataclasses import dataclass

from segcompass.footprint.architecture import Backbone, LanguageModel, SegmenterSize
from segcompass.footprint.memory import dictionary_width, dtype_bytes, step_sequences
from segcompass.study.joint import JointSettings
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

SAMPLED_CHUNKS = 64
"""Chunks that an untrained control looks at: `segcompass/activations/typed_sample.py`, which loads torch."""
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


def cache_work(study: Study, backbone: Backbone, expressions: int) -> Work:
    """`cache_activations`: an answer of each expression, then the pass that gives its hidden states."""
    language, prompt, answer = backbone.language, backbone.vision.tokens + backbone.prompt_text, study.answer.longest
    once = 2 * vision_forward(backbone) + blocks_forward(language, language.layers, prompt) + decoding(language, prompt, answer, 1)
    once += blocks_forward(language, study.activations.hook_layer, prompt + answer)
    reads = decoding_reads(language, study.activations.batch, 1, prompt, answer, dtype_bytes(study.runtime))
    return _arithmetic(study, once * expressions) + Work(read=reads * expressions / study.activations.batch)


def dictionary_work(study: Study, backbone: Backbone, name: str, tokens: int) -> Work:
    """`train_sae` on a cache of `tokens` tokens: encoder and decoder products, forward and backward.

    A control that is not trained costs nothing, but the covariance for principal components.
    """
    width = backbone.language.width
    match study.saes[name].architecture:
        case "random" | "neurons":
            return Work()
        case "pca":
            return Work(single=2.0 * width**2 * tokens)
    read = study.sae_training.steps * study.sae_training.batch_tokens
    return Work(single=3 * 4.0 * width * dictionary_width(study, name, width) * read)


def on_the_fly_work(study: Study, backbone: Backbone, name: str, expressions: int, tokens: int) -> Work:
    """`train_sae` without a cache of `tokens` tokens: forward passes of all tokens that it reads, and at most all of them once more for the
    held-out images. Principal components read every token once; controls that copy a sparsity look at some chunks."""
    match study.saes[name].architecture:
        case "random" | "neurons":
            epochs = min(1.0, SAMPLED_CHUNKS * study.activations.batch / expressions)
        case "pca":
            epochs = 1.0
        case _:
            epochs = study.sae_training.steps * study.sae_training.batch_tokens / tokens
    return dictionary_work(study, backbone, name, tokens) + cache_work(study, backbone, expressions) * (epochs + 1)


def joint_work(study: Study, joint: JointSettings, backbone: Backbone, gpus: int) -> Work:
    """`train_joint` of one variant and seed, on n GPUs together."""
    language, segmenter, hook = backbone.language, backbone.segmenter, study.activations.hook_layer
    size = step_sequences(study, joint, backbone, gpus)
    prompts, count, upper = joint.prompts, joint.prompts * joint.policy.group, language.layers - hook
    trained = 4 if study.runtime.gradient_checkpointing else 3
    half = prompts * (3 * vision_forward(backbone) + blocks_forward(language, language.layers, size.prompt) + encoder_forward(segmenter))
    half += count * decoding(language, size.prompt, size.answer, size.group)
    half += 2 * count * blocks_forward(language, hook, size.length)
    half += (2 * trained + 1) * count * blocks_forward(language, upper, size.length)
    half += (3 + 1) * count * 2.0 * language.head * size.answer
    encode = 2.0 * language.width * dictionary_width(study, joint.interface.sae, language.width) * size.length
    single = count * (encode + 3 * study.answer.slots * mask_forward(segmenter))
    reads = gpus * decoding_reads(language, size.prompts, size.group, size.prompt, size.answer, dtype_bytes(study.runtime))
    return (_arithmetic(study, half) + Work(single=single, read=reads)) * joint.steps


def answer_work(study: Study, backbone: Backbone, sae: str, codes: int, masks: int) -> Work:
    """A greedy answer, its hidden states, `codes` encodings of its tokens, and `masks` decoded masks."""
    language, prompt, answer = backbone.language, backbone.vision.tokens + backbone.prompt_text, study.answer.longest
    half = 2 * vision_forward(backbone) + encoder_forward(backbone.segmenter) + blocks_forward(language, language.layers, prompt)
    half += decoding(language, prompt, answer, 1) + blocks_forward(language, language.layers, prompt + answer)
    encode = 2.0 * language.width * dictionary_width(study, sae, language.width) * (prompt + answer)
    single = codes * encode + masks * mask_forward(backbone.segmenter)
    batch = study.evaluation.batch
    reads = decoding_reads(language, batch, 1, prompt, answer, dtype_bytes(study.runtime)) / batch
    return _arithmetic(study, half) + Work(single=single, read=reads)


def cached_answers_work(study: Study, backbone: Backbone) -> Work:
    """`cache_answers`: an answer of each chosen prompt, its hidden states, its image's embedding."""
    return answer_work(study, backbone, study.joint.interface.sae, 0, 0) * study.joint.warm_up.prompts


def evaluation_work(study: Study, joint: JointSettings, backbone: Backbone, expressions: int) -> Work:
    """`evaluate` of one run: answers of every expression, with the codes of the control dictionary beside the run's own."""
    return answer_work(study, backbone, joint.interface.sae, 2, study.answer.slots) * expressions


def intervention_work(study: Study, joint: JointSettings, backbone: Backbone) -> Work:
    """`intervene` on one run: before, three passes for the gradient of contributions, and three edits for each number of concepts."""
    settings = study.analysis.intervention
    expressions = settings.samples * sum(len(splits) for splits in settings.splits.values())
    decoded = 1 + 3 + 3 * len(settings.top_concepts)
    return answer_work(study, backbone, joint.interface.sae, 1, decoded * study.answer.slots) * expressions


def vision_forward(backbone: Backbone) -> float:
    """Operations of the vision tower and projector over one image; attention within the tower, below a tenth of it, is left out."""
    return 2.0 * backbone.vision.parameters * backbone.vision.patches + 2.0 * backbone.vision.projector * backbone.vision.tokens


def _arithmetic(study: Study, operations: float) -> Work:
    return Work(single=operations) if study.runtime.dtype == "float32" else Work(half=operations)
