"""Bytes on disk of a study's artefacts: caches that its runs share, dictionaries, checkpoints.

Numbers alone are counted, not the files' headers and lists. Shape letters: P, A, T tokens of prompt, answer and both, d language width,
v visual tokens of an image, C channels and side g of SAM's image embedding, m = 4 g.
"""

from segcompass.footprint.architecture import Backbone, SegmenterSize
from segcompass.footprint.memory import (
    SINGLE,
    answer_lengths,
    dictionary_parameters,
    dictionary_width,
    dtype_bytes,
    interface_parts,
    interface_size,
    model_parts,
    policy_parts,
    trained_parameters,
)
from segcompass.study.concepts import ActivationSettings
from segcompass.study.interface import InterfaceSettings
from segcompass.study.joint import JointSettings
from segcompass.study.study import Study

LENGTH = 4
"""Bytes of the length that a shard keeps of each tensor of a row."""
STATES = 3
"""A resume point holds what is trained and an optimiser's two moments of it."""


def number_bytes(settings: ActivationSettings) -> int:
    """Bytes of a number in the caches' dtype."""
    return 4 if settings.dtype == "float32" else 2


def cached_answer_bytes(study: Study, backbone: Backbone, layers: int) -> int:
    """A cached answer: hidden states after each of some layers, kind (uint8) and id (int32) of its tokens, reference states."""
    width, length, number = backbone.language.width, sum(answer_lengths(study, backbone)), number_bytes(study.activations)
    states = (layers * length + study.answer.slots) * width * number
    return states + length * (1 + 4) + (layers + 3) * LENGTH


def token_box_bytes(backbone: Backbone) -> int:
    """Boxes of an image's visual tokens, four float32 numbers each; kept once an image."""
    return backbone.vision.tokens * 4 * 4 + LENGTH


def cached_image_bytes(study: Study, segmenter: SegmenterSize) -> int:
    """An embedding, and where the image lies in its maps (bool)."""
    return segmenter.channels * segmenter.grid**2 * number_bytes(study.activations) + (4 * segmenter.grid) ** 2 + 2 * LENGTH


def cached_target_bytes(study: Study, segmenter: SegmenterSize, objects: int) -> int:
    """Low-resolution masks of a training sample's objects."""
    return objects * (4 * segmenter.grid) ** 2 * number_bytes(study.activations) + LENGTH


def dictionary_bytes(study: Study, backbone: Backbone, name: str) -> int:
    """A dictionary."""
    return dictionary_parameters(backbone.language.width, dictionary_width(study, name, backbone.language.width)) * SINGLE


def policy_bytes(study: Study, backbone: Backbone) -> int:
    """A policy that is written anew, in the study's dtype; the SAMs beside it are links."""
    return sum(part.parameters for part in policy_parts(study, backbone, study.activations.hook_layer)) * dtype_bytes(study.runtime)


def warm_start_resume_bytes(study: Study, backbone: Backbone) -> int:
    """Resume point of a warm start."""
    return STATES * trained_parameters(policy_parts(study, backbone, study.activations.hook_layer)) * SINGLE


def interface_checkpoint_bytes(study: Study, backbone: Backbone, interface: InterfaceSettings) -> int:
    """What a run of the interface experiment holds: trained weights and fitted statistics."""
    fitted = interface_size(study, backbone, interface).fitted
    return (trained_parameters(interface_parts(study, backbone, interface)) + fitted) * SINGLE


def joint_checkpoint_bytes(study: Study, backbone: Backbone, joint: JointSettings) -> int:
    """The same of a run of joint training, its policy's trained blocks included."""
    fitted = interface_size(study, backbone, study.interface_variant(joint.interface)).fitted
    return (trained_parameters(model_parts(study, backbone, joint)) + fitted) * SINGLE


def interface_resume_bytes(study: Study, backbone: Backbone, interface: InterfaceSettings) -> int:
    """Greatest resume point of an interface's training: all of its model, frozen parts too, and the moments."""
    parts = interface_parts(study, backbone, interface)
    fitted = interface_size(study, backbone, interface).fitted
    return sum(part.parameters * part.bytes for part in parts) + ((STATES - 1) * trained_parameters(parts) + fitted) * SINGLE


def joint_resume_bytes(study: Study, backbone: Backbone, joint: JointSettings) -> int:
    """Greatest resume point of a joint run; a rule that keeps the best weights has a copy of them."""
    copies = STATES + (joint.checkpoint == "best_on_val")
    return copies * trained_parameters(model_parts(study, backbone, joint)) * SINGLE
