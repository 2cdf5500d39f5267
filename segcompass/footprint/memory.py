"""Memory of joint training and of the warm start on one of n GPUs, and of the training of one interface, which runs on one.

The policy's weights, their gradients and moments, and the reference policy are divided among the GPUs (FSDP); dictionary, interface and SAM
are whole on each.
Storage is the code's own: frozen weights in the study's dtype, trained weights, their gradients and AdamW's two moments in float32, and the
reference policy, a copy of the trained language blocks, in the study's dtype again.
The prompts of a step are divided among the GPUs as well. Two upper bounds: every answer is as long as it may be and differs from the others
of its prompt, and some answer of a batch breaks the form, so that the well-formed ones need a pass of their own.
Shape letters: b prompts of one GPU, G rollouts a prompt, N = b * G, P prompt tokens, A answer tokens, T = P + A, d width, L blocks,
l hook layer, F concepts, a active ones a token, V vocabulary, K slots, C channels, g side of SAM's image embedding.
"""

import math
from dataclasses import dataclass

from segcompass.footprint.architecture import Backbone, LanguageModel
from segcompass.footprint.interface import InterfaceSize
from segcompass.study.backbone import RuntimeSettings
from segcompass.study.concepts import Dictionary
from segcompass.study.interface import InterfaceSettings
from segcompass.study.jobs import sae_layer
from segcompass.study.joint import JointSettings
from segcompass.study.study import Study
from segcompass.study.warm_start import WarmStartSettings

SINGLE, HALF = 4, 2
"""Bytes of a float32 and of a bfloat16 number."""
DECODER_FLOATS = 24
"""Float32 numbers that SAM's prompt road and mask decoder keep for the backward pass, per mask, cell of the g x g grid and channel
(measured on transformers' own, 23 to 25 of them from g = 16 to 32; tests repeat it)."""
CODE_BYTES = 9
"""Bytes per token and concept at the codebook's gather: the code, its absolute value, whether it is active."""
SPARSE_BYTES = 8
"""Bytes of an active concept in sparse form: its number and its code."""
ACTIVE_CONCEPTS = 64
"""Stated, not measured: active concepts a token of a dictionary whose architecture does not fix them, a few dozen at the paper's size."""


@dataclass(frozen=True)
class Part:
    """A part of the joint model."""

    name: str
    parameters: int
    trained: bool
    bytes: int
    """Of one stored weight."""
    divided: bool = False
    """Whether n GPUs store an nth of it each."""


def model_parts(study: Study, backbone: Backbone, joint: JointSettings) -> list[Part]:
    """Every part of one variant of the joint model, in the order in which data passes it."""
    interface = study.interface_variant(joint.interface)
    return [*policy_parts(study, backbone, joint_hook(study, joint)), *interface_parts(study, backbone, interface)]


def policy_parts(study: Study, backbone: Backbone, hook: int) -> list[Part]:
    """The parts of the policy, which is trained above a hook."""
    language, vision, frozen = backbone.language, backbone.vision, dtype_bytes(study.runtime)
    return [
        Part("vision tower", vision.parameters, False, frozen, True),
        Part("projector", vision.projector, False, frozen, True),
        Part("embedding matrix", language.head, False, frozen, True),
        Part(f"blocks 1 to {hook}", hook * language.block, False, frozen, True),
        Part(f"blocks {hook + 1} to {language.layers}", (language.layers - hook) * language.block, True, SINGLE, True),
        Part("final norm and head", language.width + language.head, True, SINGLE, True),
    ]


def interface_parts(study: Study, backbone: Backbone, interface: InterfaceSettings) -> list[Part]:
    """The parts behind the policy: all that the training of an interface loads."""
    size, segmenter = interface_size(study, backbone, interface), backbone.segmenters[interface.model.segmenter]
    return [
        Part("dictionary", dictionary_parameters(size.width, size.features), False, SINGLE),
        Part("query codebook", size.codebook, True, SINGLE),
        Part("slot mapper", size.mapper, True, SINGLE),
        Part("SAM image encoder", segmenter.encoder, False, dtype_bytes(study.runtime)),
        Part("SAM mask prompt", segmenter.prompt, True, SINGLE),
        Part("SAM mask decoder", segmenter.decoder, True, SINGLE),
    ]


def trained_parameters(parts: list[Part]) -> int:
    """How many parameters of some parts are trained."""
    return sum(part.parameters for part in parts if part.trained)


def interface_size(study: Study, backbone: Backbone, interface: InterfaceSettings) -> InterfaceSize:
    """The size of a variant's interface."""
    segmenter = backbone.segmenters[interface.model.segmenter]
    features = dictionary_width(study, interface.model.sae, backbone.language.width)
    active = active_concepts(study, interface.model.sae)
    policy = backbone.language.width, backbone.language.vocabulary, study.answer.max_thought_tokens
    return InterfaceSize(interface.model, features, active, *policy, segmenter.channels, segmenter.grid)


def dtype_bytes(runtime: RuntimeSettings) -> int:
    """Bytes of a number in the backbones' dtype."""
    return SINGLE if runtime.dtype == "float32" else HALF


def dictionary_of(study: Study, name: str) -> Dictionary:
    """A dictionary of the study or of its sweep."""
    swept = study.swept()
    return swept[name].dictionary if name in swept else study.saes[name]


def dictionary_width(study: Study, name: str, hidden: int) -> int:
    """F of a dictionary over hidden states of a width; a random one has that of the one it copies, hidden units have their own."""
    dictionary = dictionary_of(study, name)
    match dictionary.architecture:
        case "random":
            return dictionary_width(study, dictionary.like, hidden)
        case "neurons":
            return hidden
    return dictionary.width


def active_concepts(study: Study, name: str) -> int:
    """Active concepts a token: k, all of a dense map, the copied one's of a random one, else what is stated."""
    dictionary = dictionary_of(study, name)
    match dictionary.architecture:
        case "random" | "neurons":
            return active_concepts(study, dictionary.like)
        case "topk" | "batchtopk":
            return dictionary.k
        case "dense" | "pca":
            return dictionary.width
    return min(ACTIVE_CONCEPTS, dictionary.width)


def dictionary_parameters(width: int, features: int) -> int:
    """Encoder, decoder and their biases."""
    return 2 * width * features + features + width


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
    packed: bool
    """Rollouts stand behind one copy of their prompt; flash attention, which takes no mask for that, repeats it."""

    @property
    def count(self) -> int:
        """N."""
        return self.prompts * self.group

    @property
    def length(self) -> int:
        """T."""
        return self.prompt + self.answer

    @property
    def rows(self) -> tuple[int, int]:
        """What the language blocks run over: number and length of sequences."""
        return (self.prompts, self.prompt + self.group * self.answer) if self.packed else (self.count, self.length)

    @property
    def places(self) -> int:
        """Tokens that the language blocks run over."""
        return math.prod(self.rows)


def answer_lengths(study: Study, backbone: Backbone) -> tuple[int, int]:
    """P and A; answers are as long as they may be."""
    return backbone.vision.tokens + backbone.prompt_text, study.answer.longest


def step_sequences(study: Study, joint: JointSettings, backbone: Backbone, gpus: int) -> Sequences:
    """The largest share of a step's prompts."""
    packed = study.runtime.attention != "flash_attention_2" and joint.policy.group > 1
    return Sequences(math.ceil(joint.prompts / gpus), joint.policy.group, *answer_lengths(study, backbone), packed)


def joint_hook(study: Study, joint: JointSettings) -> int:
    """The hook of the policy of one variant of joint training: the layer of its dictionary."""
    return sae_layer(study, study.interface_variant(joint.interface).model.sae)


def learns_from_masks(joint: JointSettings) -> bool:
    """Whether a gradient of the masks reaches the policy, so that both passes above the hook are kept for it."""
    return joint.segmentation.weight > 0 and joint.segmentation_gradient > 0


def state_bytes(study: Study, backbone: Backbone, gpus: int) -> dict[str, int]:
    """What stays in a GPU's memory between steps, of the reference of joint training."""
    parts = model_parts(study, backbone, study.joint)
    states = _states(parts, gpus)
    trained = trained_parameters(policy_parts(study, backbone, joint_hook(study, study.joint)))
    reference = math.ceil(trained * dtype_bytes(study.runtime) / gpus)
    return states | {"AdamW moments": 2 * states["trained weights"], "reference policy": reference}


def _states(parts: list[Part], gpus: int = 1) -> dict[str, int]:
    held = {part.name: math.ceil(part.parameters / (gpus if part.divided else 1)) for part in parts}
    trained = sum(held[part.name] for part in parts if part.trained)
    return {
        "frozen weights": sum(held[part.name] * part.bytes for part in parts if not part.trained),
        "trained weights": trained * SINGLE,
        "gradients": trained * SINGLE,
    }


def sampling_bytes(study: Study, backbone: Backbone, gpus: int) -> dict[str, int]:
    """What sampling the rollouts adds: the prompt's keys and values are stored once, for all its rollouts."""
    language, size = backbone.language, step_sequences(study, study.joint, backbone, gpus)
    stored = size.prompts * (size.prompt + size.group * size.answer)
    half = {"weights at work": working_bytes(study, backbone, joint_hook(study, study.joint), gpus)}
    return half | {"keys and values": 2 * language.layers * language.key_value_width * stored * dtype_bytes(study.runtime)}


def update_bytes(study: Study, backbone: Backbone, gpus: int) -> dict[str, int]:
    """What the losses and their gradient add."""
    language, joint, hook = backbone.language, study.joint, joint_hook(study, study.joint)
    interface = study.interface_variant(joint.interface).model
    segmenter, size = backbone.segmenters[interface.segmenter], step_sequences(study, joint, backbone, gpus)
    number, grid = dtype_bytes(study.runtime), segmenter.grid**2 * segmenter.channels
    return {
        "weights at work": working_bytes(study, backbone, hook, gpus),
        "language blocks": kept_block_bytes(study, language, size, (2 if learns_from_masks(joint) else 1) * (language.layers - hook)),
        "sequences": size.count * size.length * language.width * (2 * number + 2 * SINGLE),
        "logits": 3 * size.count * size.answer * language.vocabulary * SINGLE,
        "codes": size.count * size.length * dictionary_width(study, interface.sae, language.width) * CODE_BYTES,
        "mask decoder": size.count * interface.slots * grid * DECODER_FLOATS * SINGLE,
        "image embeddings": (size.prompts + size.count) * grid * SINGLE,
    }


def kept_block_bytes(study: Study, language: LanguageModel, size: Sequences, blocks: int) -> int:
    """What the passes of some trained blocks keep for the backward pass: all of it, or their inputs and all of the one that runs again."""
    runtime, number, (rows, length) = study.runtime, dtype_bytes(study.runtime), size.rows
    block = size.places * block_activation_bytes(language, runtime.dtype != "float32")
    block += 2 * rows * language.heads * length**2 * number if runtime.attention == "eager" else 0
    return blocks * size.places * language.width * number + block if runtime.gradient_checkpointing else blocks * block


def warm_start_bytes(study: Study, backbone: Backbone, warm_start: WarmStartSettings, gpus: int) -> dict[str, int]:
    """Memory of the warm start on one of n GPUs, which divide weights and prompts as in joint training; it has no reference policy.

    Its greedy answers, drawn as many at a time as a step has prompts, need less than a step.
    """
    language, hook, number = backbone.language, study.activations.hook_layer, dtype_bytes(study.runtime)
    size = Sequences(math.ceil(warm_start.prompts / gpus), 1, *answer_lengths(study, backbone), False)
    states = _states(policy_parts(study, backbone, hook), gpus)
    return states | {
        "AdamW moments": 2 * states["trained weights"],
        "weights at work": working_bytes(study, backbone, hook, gpus),
        "language blocks": kept_block_bytes(study, language, size, language.layers - hook),
        "sequences": size.count * size.length * language.width * (number + SINGLE),
        "logits": 3 * size.count * size.answer * language.vocabulary * SINGLE,
    }


def working_bytes(study: Study, backbone: Backbone, hook: int, gpus: int) -> int:
    """Weights in the arithmetic's dtype: autocast's copy of the policy on one GPU; on several a unit and the buffer that it came in."""
    language, number = backbone.language, dtype_bytes(study.runtime)
    if gpus > 1:
        return 2 * max(language.block, language.head) * number
    return trained_parameters(policy_parts(study, backbone, hook)) * number if study.runtime.dtype != "float32" else 0


def interface_bytes(study: Study, backbone: Backbone, interface: InterfaceSettings, answers: int) -> dict[str, int]:
    """Memory of the training of one interface on a number of cached answers.

    Sparse codes of all answers are kept, dense ones made anew for each batch. The slots' encoder, below a tenth of the mask decoder, is
    left out, and so is what stays on disk: hidden states, reference states, embeddings. Muon keeps one moment of a matrix, not two.
    """
    size, segmenter = interface_size(study, backbone, interface), backbone.segmenters[interface.model.segmenter]
    length, batch = sum(answer_lengths(study, backbone)), max(interface.training.heat_maps.batch, interface.training.masks.batch)
    dense, grid = size.active == size.features, segmenter.grid**2 * segmenter.channels
    tokens = batch * length
    parts = interface_parts(study, backbone, interface)
    return _states(parts) | {
        "moments": 2 * trained_parameters(parts) * SINGLE,
        "codes of all answers": 0 if dense else answers * length * size.active * SPARSE_BYTES,
        "codes of a batch": tokens * (size.features * CODE_BYTES if dense else size.active * SPARSE_BYTES),
        "hidden states of a batch": tokens * size.width * SINGLE,
        "mask decoder": batch * size.model.slots * grid * DECODER_FLOATS * SINGLE,
        "image embeddings": batch * (1 + size.model.slots) * grid * SINGLE,
    }
