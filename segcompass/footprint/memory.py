"""Memory of joint training on one of n GPUs, if weights, gradients and optimiser states are divided among them (FSDP).

Storage is the code's own: frozen weights in the study's dtype, trained weights, their gradients and AdamW's two moments in float32, and the
reference policy, a copy of the trained language blocks, in the study's dtype again.
The prompts of a step are divided among the GPUs as well.
Shape letters: b prompts of one GPU, G rollouts a prompt, N = b * G, P prompt tokens, A answer tokens, T = P + A, d width, L blocks,
l hook layer, F concepts, V vocabulary, K slots, C channels, g side of SAM's image embedding.
"""

import math
from dataclasses import dataclass

from segcompass.footprint.architecture import Backbone, LanguageModel
from segcompass.study.backbone import RuntimeSettings
from segcompass.study.joint import InterfaceSettings, JointSettings
from segcompass.study.study import Study

SINGLE, HALF = 4, 2
"""Bytes of a float32 and of a bfloat16 number."""
DECODER_FLOATS = 24
"""Float32 numbers that SAM's prompt road and mask decoder keep for the backward pass, per mask, cell of the g x g grid and channel
(measured on transformers' own, 23 to 25 of them from g = 16 to 32; tests repeat it)."""
CODE_BYTES = 9
"""Bytes per token and concept at the codebook's gather: the code, its absolute value, whether it is active."""


@dataclass(frozen=True)
class Part:
    """A part of the joint model."""

    name: str
    parameters: int
    trained: bool
    bytes: int
    """Of one stored weight."""


def model_parts(study: Study, backbone: Backbone) -> list[Part]:
    """Every part of the joint model `full`, in the order in which data passes it."""
    language, vision, segmenter, frozen = backbone.language, backbone.vision, backbone.segmenter, dtype_bytes(study.runtime)
    hook, features = study.activations.hook_layer, dictionary_width(study, study.joint.interface.sae, language.width)
    return [
        Part("vision tower", vision.parameters, False, frozen),
        Part("projector", vision.projector, False, frozen),
        Part("embedding matrix", language.head, False, frozen),
        Part(f"blocks 1 to {hook}", hook * language.block, False, frozen),
        Part(f"blocks {hook + 1} to {language.layers}", (language.layers - hook) * language.block, True, SINGLE),
        Part("final norm and head", language.width + language.head, True, SINGLE),
        Part("dictionary", dictionary_parameters(language.width, features), False, SINGLE),
        Part("query codebook", codebook_parameters(study.joint.interface, features, study.answer.slots), True, SINGLE),
        Part("slot mapper", mapper_parameters(study.joint.interface, language.width, segmenter.channels, study.answer.slots), True, SINGLE),
        Part("SAM image encoder", segmenter.encoder, False, frozen),
        Part("SAM mask prompt", segmenter.prompt, True, SINGLE),
        Part("SAM mask decoder", segmenter.decoder, True, SINGLE),
    ]


def dtype_bytes(runtime: RuntimeSettings) -> int:
    """Bytes of a number in the backbones' dtype."""
    return SINGLE if runtime.dtype == "float32" else HALF


def dictionary_width(study: Study, name: str, hidden: int) -> int:
    """F of a dictionary over hidden states of a width; a random one has that of the one it copies, hidden units have their own."""
    dictionary = study.saes[name]
    match dictionary.architecture:
        case "random":
            return dictionary_width(study, dictionary.like, hidden)
        case "neurons":
            return hidden
    return dictionary.width


def dictionary_parameters(width: int, features: int) -> int:
    """Encoder, decoder and their biases."""
    return 2 * width * features + features + width


def codebook_parameters(settings: InterfaceSettings, features: int, slots: int) -> int:
    """A row a concept, K queries, and pre-norm encoder layers of feed-forward width 4 q with a last norm."""
    q = settings.query_width
    layer = 4 * (q**2 + q) + 8 * q**2 + 5 * q + 4 * q
    return features * q + slots * q + settings.query_layers * layer + 2 * q


def mapper_parameters(settings: InterfaceSettings, width: int, channels: int, slots: int) -> int:
    """Slot projection, fusion, image convolution, fusion of the heads' maps, confidence, and the constant where r_k is cut."""
    heads = settings.mapper_heads
    fused = heads * settings.mapper_head_width
    projection = settings.query_width * width + width
    fusion = 2 * 2 * width + 2 * width * fused + fused
    maps = 9 * heads * 4 * heads + 4 * heads + 9 * 4 * heads + 1
    confidence = 64 * fused + 64 + 64 + 1
    constant = 0 if settings.reference_state else slots * width
    return projection + fusion + channels * fused + fused + maps + confidence + constant


def block_activation_bytes(language: LanguageModel, half: bool) -> int:
    """Bytes a token that one block keeps for its backward pass, attention scores not materialised.

    float32: input, normalised input and output of both norms, query, attention output and sums (8 d), key and value, and four tensors of
    the feed-forward layer; under autocast the norms keep float32 beside what the products keep in half precision.
    """
    d, kv, f = language.width, language.key_value_width, language.mlp_width
    return 27 * d + 4 * kv + 8 * f if half else SINGLE * (8 * d + 2 * kv + 4 * f)


@dataclass(frozen=True)
class Sequences:
    """Lengths and numbers of a training step on one GPU."""

    prompts: int
    group: int
    prompt: int
    answer: int

    @property
    def count(self) -> int:
        """N."""
        return self.prompts * self.group

    @property
    def length(self) -> int:
        """T."""
        return self.prompt + self.answer


def step_sequences(study: Study, joint: JointSettings, backbone: Backbone, gpus: int) -> Sequences:
    """The largest share of a step's prompts; answers are as long as they may be."""
    prompt = backbone.vision.tokens + backbone.prompt_text
    return Sequences(math.ceil(joint.prompts / gpus), joint.policy.group, prompt, study.answer.longest)


def state_bytes(study: Study, backbone: Backbone, gpus: int) -> dict[str, int]:
    """What stays in a GPU's memory between steps."""
    parts = model_parts(study, backbone)
    trained = sum(part.parameters for part in parts if part.trained)
    hook, language = study.activations.hook_layer, backbone.language
    policy = (language.layers - hook) * language.block + language.width + language.head
    whole = {
        "frozen weights": sum(part.parameters * part.bytes for part in parts if not part.trained),
        "trained weights": trained * SINGLE,
        "gradients": trained * SINGLE,
        "AdamW moments": 2 * trained * SINGLE,
        "reference policy": policy * dtype_bytes(study.runtime),
    }
    return {name: math.ceil(size / gpus) for name, size in whole.items()}


def sampling_bytes(study: Study, backbone: Backbone, gpus: int) -> dict[str, int]:
    """What sampling the rollouts adds: the prompt's keys and values are stored once, for all its rollouts."""
    language, size = backbone.language, step_sequences(study, study.joint, backbone, gpus)
    stored = size.prompts * (size.prompt + size.group * size.answer)
    half = {"weights at work": working_bytes(study, backbone, gpus)}
    return half | {"keys and values": 2 * language.layers * language.key_value_width * stored * dtype_bytes(study.runtime)}


def update_bytes(study: Study, backbone: Backbone, gpus: int) -> dict[str, int]:
    """What the losses and their gradient add."""
    language, segmenter, runtime = backbone.language, backbone.segmenter, study.runtime
    size, number = step_sequences(study, study.joint, backbone, gpus), dtype_bytes(runtime)
    tokens, upper = size.count * size.length, language.layers - study.activations.hook_layer
    block = tokens * block_activation_bytes(language, runtime.dtype != "float32")
    scores = 2 * size.count * language.heads * size.length**2 * number if runtime.attention == "eager" else 0
    blocks = upper * tokens * language.width * number + block + scores if runtime.gradient_checkpointing else upper * (block + scores)
    features = dictionary_width(study, study.joint.interface.sae, language.width)
    grid = segmenter.grid**2 * segmenter.channels
    return {
        "weights at work": working_bytes(study, backbone, gpus),
        "language blocks": blocks,
        "logits": 3 * size.count * size.answer * language.vocabulary * SINGLE,
        "codes": tokens * features * CODE_BYTES,
        "mask decoder": size.count * study.answer.slots * grid * DECODER_FLOATS * SINGLE,
        "image embeddings": (size.prompts + size.count) * grid * SINGLE,
    }


def working_bytes(study: Study, backbone: Backbone, gpus: int) -> int:
    """Weights in the arithmetic's dtype: autocast's copy of the policy on one GPU; the gathered unit and the next one on several."""
    language, number = backbone.language, dtype_bytes(study.runtime)
    if gpus > 1:
        return 2 * max(language.block, language.head) * number
    policy = (language.layers - study.activations.hook_layer) * language.block + language.width + language.head
    return policy * number if study.runtime.dtype != "float32" else 0
