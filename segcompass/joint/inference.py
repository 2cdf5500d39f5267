"""Inference with a trained run: thoughts, slots by confidence, masks of the original image (paper section 2; formats.md section 2).

Thinking and segmenting are two calls, so that codes can be edited between them while the words stay as they are, and so that a thought can
be given instead of generated, or taken from the cached answers of a policy that is not trained.
Shape letters: N samples, T tokens, F concepts, K slots, m side of low-resolution maps, v visual tokens of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from segcompass.backbone.instruction import InstructionReading
from segcompass.backbone.interface import HookStates, Image, Prompts
from segcompass.backbone.token_types import OTHER
from segcompass.datasets.samples import Sample
from segcompass.joint.answer_codes import blanked
from segcompass.joint.cached_answers import CachedAnswers
from segcompass.joint.cached_images import CachedImages
from segcompass.joint.embeddings import Embeddings
from segcompass.joint.model import PADDING_LOGIT, InterfaceModel, JointModel, Segmentation
from segcompass.joint.reading import Codes, Reading
from segcompass.joint.rollouts import answer, read_answers, with_unreadable
from segcompass.numerics.finite import refuse_unfinite
from segcompass.protocols.no_target import confident_slots

Place = tuple[str, str, Sample]
"""Benchmark and split of a sample, and the sample."""


@dataclass(frozen=True)
class Thoughts:
    """Answers of N samples and everything that the interface reads."""

    texts: list[str]
    """The answers as generated or given, special tokens included."""
    status: list[str]
    """`ok`, why an instruction cannot be read (backbone/instruction.py), or how an answer breaks the form (backbone/prompt.py)."""
    hidden: Tensor
    """[N, T, d], at the hook, of the well-formed answers."""
    reading: Reading
    """Of the same; its codes are dense but where sparse ones were asked for."""
    embeddings: Tensor
    """[N, C, g, g]."""
    valid: Tensor
    """bool [N, m, m]."""
    sizes: list[tuple[int, int]]
    """Original (height, width)."""
    boxes: list[np.ndarray]
    """Pixel boxes (x0, y0, x1, y1) of each image's visual tokens, float [v, 4]."""


@dataclass(frozen=True)
class Prediction:
    """What one sample's answer predicts."""

    status: str
    """`ok`, why the instruction cannot be read, or how the answer breaks the form; then nothing is predicted."""
    confidences: np.ndarray
    """[K] probabilities."""
    slots: tuple[int, ...]
    """Slots at or above the confidence threshold; none is the decision "no target"."""
    masks: np.ndarray
    """bool [K, height, width]; empty of a slot that was not decoded."""

    @property
    def mask(self) -> np.ndarray:
        """bool [height, width], union of the confident slots; empty where the answer breaks the form."""
        return np.asarray(self.masks[list(self.slots)].any(0)) if self.status == "ok" else np.zeros(self.masks.shape[1:], bool)

    @property
    def no_target(self) -> bool:
        """The answer keeps the form and no slot is confident; a broken answer decides nothing."""
        return self.status == "ok" and not self.slots


class Segmenting:
    """A trained interface that turns thoughts into predictions."""

    def __init__(self, model: InterfaceModel, confidence_threshold: float) -> None:
        self.interface_model, self.confidence_threshold = model, confidence_threshold

    def decide(self, thoughts: Thoughts) -> Segmentation:
        """What the prediction needs: maps of all slots, masks of the confident ones; those of the others are empty."""
        model, embeddings, valid = self.interface_model, thoughts.embeddings, thoughts.valid
        heat, confidence = model.read(thoughts.reading, embeddings)
        masks = torch.full_like(heat, PADDING_LOGIT)
        index, slot = (confidence.sigmoid().double() >= self.confidence_threshold).nonzero(as_tuple=True)
        if len(index):
            masks[index, slot] = model.masks(heat[index, slot][:, None], embeddings[index], valid[index])[:, 0]
        return Segmentation(heat, confidence, masks)

    def segment(self, thoughts: Thoughts, codes: Codes | None = None) -> Segmentation:
        """Maps and masks of all slots, from the thoughts' own codes or from edited ones [N, T, F]."""
        reading = thoughts.reading if codes is None else replace(thoughts.reading, codes=codes)
        return self.interface_model.segment(reading, thoughts.embeddings, thoughts.valid)

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
            masks = self.interface_model.segmenter.to_image(output.mask_logits[index].detach(), size)
            found.append(Prediction(thoughts.status[index], confidences, slots, masks))
        return found


class CachedThoughts:
    """Thoughts of evaluated samples from the cached answers of a policy that is not trained."""

    def __init__(self, answers: CachedAnswers, images: CachedImages, model: InterfaceModel, sparse: bool = False) -> None:
        """`sparse` gives codes in sparse form: [N, T, F] never exists."""
        self.answers, self.images, self.model, self.sparse = answers, images, model, sparse
        self._rows = {(owner.benchmark, owner.split, owner.sample_id): row for row, owner in enumerate(answers.owners)}

    def of(self, benchmark: str, split: str, samples: Sequence[Sample]) -> Thoughts:
        """What was answered to samples of one split.

        Raises:
            KeyError: a sample was not answered.
        """
        return self.of_places([(benchmark, split, sample) for sample in samples])

    @torch.no_grad()
    def of_places(self, places: Sequence[Place]) -> Thoughts:
        """What was answered to samples of any splits.

        Raises:
            KeyError: a sample was not answered.
        """
        samples = [sample for _, _, sample in places]
        rows = [self._rows[benchmark, split, sample.sample_id] for benchmark, split, sample in places]
        owners = [self.answers.owners[row] for row in rows]
        batch = self.answers.batch(rows)
        if self.sparse:
            shown = (batch.token_types != OTHER).flatten()
            codes: Codes = blanked(self.model.dictionary.encode_sparse(batch.hidden.flatten(0, 1)), shown)
        else:
            codes = self.model.codes_of(batch.hidden, batch.token_types)
        reading = Reading(codes, batch.token_types, batch.ids, batch.reference_states)
        embeddings, valid = self.images.of([sample.image for sample in samples])
        sizes = [(sample.height, sample.width) for sample in samples]
        boxes = [self.answers.boxes(sample.image) for sample in samples]
        texts, status = [owner.answer for owner in owners], [owner.status for owner in owners]
        return Thoughts(texts, status, batch.hidden, reading, embeddings, valid, sizes, boxes)


class Predictor(Segmenting):
    """A joint model that thinks and predicts."""

    def __init__(self, model: JointModel, longest: int, confidence_threshold: float) -> None:
        super().__init__(model, confidence_threshold)
        self.model, self.longest = model, longest
        self._embeddings = Embeddings(model.segmenter)

    @torch.no_grad()
    def think(self, images: Sequence[Image], texts: Sequence[str]) -> Thoughts:
        """Greedy answers for N images and instructions."""
        vlm = self.model.vlm
        prompts = vlm.prompts(images, texts)
        answers = answer(vlm, prompts, 1, None, self.longest, None)
        return self._thoughts(images, prompts, [vlm.text(ids) for ids in answers.rollouts.valid_ids], answers.status, answers.formed)

    def readings(self, images: Sequence[Image], texts: Sequence[str]) -> tuple[InstructionReading, ...]:
        """What the model is given of N instructions, without any answer."""
        return self.model.vlm.prompts(images, texts).readings

    @torch.no_grad()
    def read(self, images: Sequence[Image], texts: Sequence[str], words: Sequence[str]) -> Thoughts:
        """Well-formed answers to N images and instructions with the words of given thoughts, none generated."""
        return self.read_ids(images, texts, [self.model.vlm.answer_ids(thought) for thought in words])

    @torch.no_grad()
    def read_ids(self, images: Sequence[Image], texts: Sequence[str], answers: Sequence[list[int]]) -> Thoughts:
        """The same of well-formed answers that are given by their ids."""
        vlm = self.model.vlm
        prompts = vlm.prompts(images, texts)
        (states,) = read_answers(vlm, prompts, answers)
        return self._thoughts(images, prompts, [vlm.text(torch.tensor(ids)) for ids in answers], ["ok"] * len(answers), states)

    def written(self, thought: str) -> str:
        """The text of the well-formed answer with a thought."""
        vlm = self.model.vlm
        return vlm.text(torch.tensor(vlm.answer_ids(thought)))

    def _thoughts(self, images: Sequence[Image], prompts: Prompts, answers: list[str], form: list[str], states: HookStates) -> Thoughts:
        vlm = self.model.vlm
        reading = self.model.reading(states, vlm.reference_states(vlm.upper(states), states))
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        boxes = [vlm.token_boxes(*size) for size in sizes]
        status = with_unreadable(prompts, form)
        return Thoughts(answers, status, states.hidden.float(), reading, *self._embeddings.of(images), sizes, boxes)


def leading_slots(prediction: Prediction) -> list[int]:
    """The confident slots or, where there is none, the most confident one: whose maps are studied whatever the decision was."""
    return list(prediction.slots) or [int(prediction.confidences.argmax())]


def leading_of(confidences: np.ndarray, threshold: float) -> list[int]:
    """The same from a sample's confidence probabilities [K] and their threshold."""
    return list(confident_slots(confidences.tolist(), threshold)) or [int(confidences.argmax())]
