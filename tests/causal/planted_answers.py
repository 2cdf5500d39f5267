"""An interface whose mask depends on known concepts by known weights, and answers for it that are written by hand.

Hidden states are codes: concept f is the f-th unit vector. Images have 4 x 4 pixels. Every token adds its codes, by the weight of its type,
to the evidence of the concepts; the k-th concept of `maps` lights its region as far as its evidence exceeds `threshold`.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from segcompass.backbone.token_types import INSTRUCTION, OTHER, THOUGHT, VISUAL
from segcompass.causal.response import Pictures
from segcompass.causal.token_pool import Answers, Encoding
from segcompass.datasets.masks import encode
from segcompass.datasets.samples import Sample
from segcompass.joint.cached_answers import AnswerBatch
from segcompass.joint.reading import Reading, Shown
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.sparse_tokens import SparseTokens

CONCEPTS, SIDE = 8, 4
LEFT, RIGHT = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
LEFT[:, :2], RIGHT[:, 2:] = True, True


class PlantedDictionary(Dictionary):
    """Codes are the hidden states themselves; `offset` makes every one of them active."""

    architecture = "planted"

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__(CONCEPTS, CONCEPTS)
        self.offset = offset

    def encode(self, x: Tensor) -> Tensor:
        return x + self.offset

    def losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        raise NotImplementedError


class PlantedModel:
    """Lights a region where its evidence is above the threshold.

    Args:
        maps: concept -> region, bool [4, 4].
        weights: token type -> weight of its codes; a type that is not named is not read.
        reference: weight of the reference state, [d], as further evidence.
        threshold: that evidence must exceed.
    """

    def __init__(
        self, maps: Mapping[int, np.ndarray], weights: Mapping[int, float], reference: float = 0.0, threshold: float = 0.5
    ) -> None:
        self.maps = torch.zeros(CONCEPTS, SIDE, SIDE)
        for concept, region in maps.items():
            self.maps[concept] = torch.from_numpy(region).float()
        self.weights = torch.zeros(256)
        for kind, weight in weights.items():
            self.weights[kind] = weight
        self.reference, self.threshold = reference, threshold
        self.segmenter = SimpleNamespace(to_image=lambda logits, size: (logits > 0).numpy())

        mapper = SimpleNamespace(keys=lambda embeddings: embeddings, maps=self._maps)
        self.interface = SimpleNamespace(shown=self._shown, codebook=lambda shown: shown.tokens.sum(1, keepdim=True), mapper=mapper)

    def seen(self, reading: Reading) -> Reading:
        return reading

    def _shown(self, reading: Reading) -> Shown:
        codes = reading.codes
        dense = codes.dense().view(*reading.token_types.shape, -1) if isinstance(codes, SparseTokens) else codes
        weighed = dense * self.weights[reading.token_types.long()][..., None]
        return Shown(weighed, reading.read, reading.thought, reading.reference_states)

    def _maps(self, slots: Tensor, references: Tensor, keys: Tensor, which: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lit = (slots + self.reference * references - self.threshold).clamp(min=0)
        return (lit @ self.maps.flatten(1)).unflatten(-1, (SIDE, SIDE)), torch.zeros(slots.shape[:2])

    def masks(self, heat: Tensor, embeddings: Tensor, valid: Tensor) -> Tensor:
        return heat


Written = tuple[Sequence[int], Sequence[int], Sequence[int], int | None]
"""Concepts of the visual, instruction and thought tokens, one a token, and that of the reference state."""


class PlantedRuns:
    """Answers by sample id; a token's word is its concept."""

    def __init__(self, written: Mapping[str, Written], offset: float = 0.0) -> None:
        self.written = dict(written)
        self.encoding = Encoding(PlantedDictionary(offset), self._hidden([0] * 4))

    def answers(self, places: Sequence[tuple[str, str, str]]) -> Answers:
        hidden, types, ids, references = [], [], [], []
        for _, _, sample_id in places:
            *blocks, reference = self.written[sample_id]
            words = [concept for block in blocks for concept in block]
            hidden.append(self._hidden(words))
            kinds = [kind for kind, block in zip((VISUAL, INSTRUCTION, THOUGHT), blocks, strict=True) for _ in block]
            types.append(torch.tensor(kinds, dtype=torch.uint8))
            ids.append(torch.tensor(words))
            references.append(self._hidden([reference])[0] if reference is not None else torch.zeros(CONCEPTS))
        parts = (_padded(hidden, 0.0), _padded(types, OTHER), _padded(ids, 0))
        return self.encoding.answers(AnswerBatch(*parts, torch.stack(references)[:, None], torch.zeros_like(parts[2])))

    def pictures(self, samples: Sequence[Sample]) -> Pictures:
        valid = torch.ones(len(samples), SIDE, SIDE, dtype=torch.bool)
        return Pictures(torch.zeros(len(samples), 1, 1, 1), valid, [(SIDE, SIDE)] * len(samples))

    def _hidden(self, concepts: Sequence[int]) -> Tensor:
        return torch.eye(CONCEPTS)[list(concepts)]


def sample(sample_id: str, target: np.ndarray, image: str = "image", text: str = "") -> Sample:
    rle = encode(target)
    return Sample(sample_id, image, SIDE, SIDE, text or sample_id, not target.any(), rle, None, (rle,))


def _padded(parts: list[Tensor], value: float) -> Tensor:
    return pad_sequence(parts, batch_first=True, padding_value=value, padding_side="left")
