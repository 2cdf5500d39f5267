"""Inference with a trained run: greedy thoughts, slots by confidence, masks of the original image (paper section 2; formats.md section 2).

Thinking and segmenting are two calls, so that codes can be edited between them while the words stay as they are, and so that a thought can
be given instead of generated: with the gold one, the masks are those of a policy that never thinks wrong.
Shape letters: N samples, T tokens, F concepts, K slots, m side of low-resolution maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segcompass.backbone.interface import HookStates, Image
from segcompass.joint.embeddings import Embeddings
from segcompass.joint.model import JointModel, Segmentation
from segcompass.joint.rollouts import answer, read_answers
from segcompass.numerics.finite import refuse_unfinite
from segcompass.protocols.no_target import confident_slots


@dataclass(frozen=True)
class Thoughts:
    """Answers of N samples and everything that the concept interface reads."""

    texts: list[str]
    """The answers as generated or given, special tokens included."""
    status: list[str]
    """`ok`, or how an answer breaks the form (backbone/prompt.py)."""
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
        self._embeddings = Embeddings(model.segmenter)

    @torch.no_grad()
    def think(self, images: Sequence[Image], texts: Sequence[str]) -> Thoughts:
        """Greedy answers for N images and instructions."""
        vlm = self.model.vlm
        answers = answer(vlm, vlm.prompts(images, texts), 1, None, self.longest, None)
        return self._thoughts(images, [vlm.text(ids) for ids in answers.rollouts.valid_ids], answers.status, answers.formed)

    @torch.no_grad()
    def read(self, images: Sequence[Image], texts: Sequence[str], words: Sequence[str]) -> Thoughts:
        """Well-formed answers to N images and instructions with the words of given thoughts, none generated."""
        vlm = self.model.vlm
        states = read_answers(vlm, vlm.prompts(images, texts), [vlm.answer_ids(thought) for thought in words])
        return self._thoughts(images, [self.written(thought) for thought in words], ["ok"] * len(words), states)

    def written(self, thought: str) -> str:
        """The text of the well-formed answer with a thought."""
        vlm = self.model.vlm
        return vlm.text(torch.tensor(vlm.answer_ids(thought)))

    def _thoughts(self, images: Sequence[Image], answers: list[str], status: list[str], states: HookStates) -> Thoughts:
        vlm = self.model.vlm
        reference_states = vlm.reference_states(vlm.upper(states), states)
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        return Thoughts(answers, status, states, self.model.codes(states), reference_states, *self._embeddings.of(images), sizes)

    def segment(self, thoughts: Thoughts, codes: Tensor | None = None) -> Segmentation:
        """Maps of all slots, from the thoughts' own codes or from edited ones [N, T, F]."""
        chosen = thoughts.codes if codes is None else codes
        return self.model.segment(chosen, thoughts.states, thoughts.reference_states, thoughts.embeddings, thoughts.valid)

    def predictions(self, thoughts: Thoughts, output: Segmentation) -> list[Prediction]:
        """Predictions of the N samples.

        Raises:
            InputError: a confidence or a mask is not finite, which would else count as "no target".
        """
        outputs = {"confidence": output.confidence, "mask logits": output.mask_logits}
        refuse_unfinite(outputs, None, "its run cannot predict; train it again with lower learning rates, or compute in float32")
        found = []
        for index, size in enumerate(thoughts.sizes):
            confidences = output.confidence[index].detach().double().cpu().numpy()
            slots = confident_slots(confidences.tolist(), self.confidence_threshold)
            masks = self.model.segmenter.to_image(output.mask_logits[index].detach(), size)
            found.append(Prediction(thoughts.status[index], confidences, slots, masks))
        return found


def leading_slots(prediction: Prediction) -> list[int]:
    """The confident slots or, where there is none, the most confident one: whose maps are studied whatever the decision was."""
    return list(prediction.slots) or [int(prediction.confidences.argmax())]
