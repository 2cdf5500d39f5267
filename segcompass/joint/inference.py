"""Inference with a trained run: greedy thoughts, slots by confidence, masks of the original image (paper section 2; formats.md section 2).

Thinking and segmenting are two calls, so that codes can be edited between them while the words stay as they are.
Shape letters: N samples, T tokens, F concepts, K slots, m side of low-resolution maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segcompass.backbone.interface import HookStates, Image
from segcompass.joint.model import JointModel, Segmentation
from segcompass.joint.rollouts import Answers, answer
from segcompass.protocols.no_target import confident_slots


@dataclass(frozen=True)
class Thoughts:
    """Answers of N samples and everything that the concept interface reads."""

    answers: Answers
    states: HookStates
    """Of the well-formed answers."""
    codes: Tensor
    """[N, T, F]."""
    reference_states: Tensor
    """[N, K, d]."""
    embeddings: Tensor
    """[N, C, g, g]."""
    valid: Tensor
    """bool [N, m, m]."""
    sizes: list[tuple[int, int]]
    """Original (height, width)."""


@dataclass(frozen=True)
class Prediction:
    """What one sample's answer predicts."""

    status: str
    """`ok`, or how the answer breaks the form; then nothing is predicted."""
    confidences: np.ndarray
    """[K] probabilities."""
    slots: tuple[int, ...]
    """Slots at or above the confidence threshold; none is the decision "no target"."""
    masks: np.ndarray
    """bool [K, height, width], of all slots."""

    @property
    def mask(self) -> np.ndarray:
        """bool [height, width], union of the confident slots; empty where the answer breaks the form."""
        return np.asarray(self.masks[list(self.slots)].any(0)) if self.status == "ok" else np.zeros(self.masks.shape[1:], bool)

    @property
    def no_target(self) -> bool:
        """The answer keeps the form and no slot is confident; a broken answer decides nothing."""
        return self.status == "ok" and not self.slots


class Predictor:
    """A trained joint model that predicts."""

    def __init__(self, model: JointModel, longest: int, confidence_threshold: float) -> None:
        self.model, self.longest, self.confidence_threshold = model, longest, confidence_threshold

    @torch.no_grad()
    def think(self, images: Sequence[Image], texts: Sequence[str]) -> Thoughts:
        """Greedy answers for N images and instructions."""
        vlm = self.model.vlm
        prompts = vlm.prompts(images, texts)
        answers = answer(vlm, prompts, 1, None, self.longest, None)
        states = answers.formed
        reference_states = self.model.reference_states(vlm.upper(states), states)
        inputs = self.model.segmenter.inputs(images)
        embeddings = self.model.segmenter.embed(inputs)
        return Thoughts(answers, states, self.model.codes(states), reference_states, embeddings, inputs.valid, inputs.sizes)

    def segment(self, thoughts: Thoughts, codes: Tensor | None = None) -> Segmentation:
        """Maps of all slots, from the thoughts' own codes or from edited ones [N, T, F]."""
        chosen = thoughts.codes if codes is None else codes
        return self.model.segment(chosen, thoughts.states, thoughts.reference_states, thoughts.embeddings, thoughts.valid)

    def predictions(self, thoughts: Thoughts, output: Segmentation) -> list[Prediction]:
        """Predictions of the N samples."""
        found = []
        for index, size in enumerate(thoughts.sizes):
            confidences = output.confidence[index].detach().double().cpu().numpy()
            slots = confident_slots(confidences.tolist(), self.confidence_threshold)
            masks = self.model.segmenter.to_image(output.mask_logits[index].detach(), size)
            found.append(Prediction(thoughts.answers.status[index], confidences, slots, masks))
        return found


def leading_slots(prediction: Prediction) -> list[int]:
    """The confident slots or, where there is none, the most confident one: whose maps are studied whatever the decision was."""
    return list(prediction.slots) or [int(prediction.confidences.argmax())]
