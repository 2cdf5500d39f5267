"""What each road into the interface carries of a slot: Shapley values over what donors give in place of the sample's own.

The cells and values are those of the battery (`segcompass/causal/paths.py`), whose donors are other samples of a split; here they are other
pictures (donors.py), and the reference mask is the slot's own, since there is no truth. Each map is scored by its own mask.

Shape letters: D donors, T tokens, K slots, d language width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from segcompass.backbone.token_types import OTHER
from segcompass.causal.measurements import PATHS
from segcompass.causal.overlap import iou
from segcompass.causal.paths import ALL, CELLS, cell_reading
from segcompass.causal.response import Pictures, Responding
from segcompass.causal.shapley import shapley
from segcompass.causal.token_pool import Answers, Encoding
from segcompass.explain.answered import Answered, refuse_unreadable
from segcompass.explain.donors import Donor
from segcompass.joint.cached_answers import AnswerBatch
from segcompass.joint.inference import Predictor, Thoughts

Spoken = tuple[Tensor, Tensor, Tensor, Tensor]
"""Hidden states [T, d], token types [T], ids [T] and reference states [K, d] of one answer."""


@dataclass(frozen=True)
class Paths:
    """What each road into the interface carries of a slot."""

    score: dict[str, float]
    """Path -> Shapley value of the slot's score, mean over donors."""
    total_score: float
    """Score with all that is the sample's own, less score with all that is the donors': the sum of the four."""
    iou: dict[str, float]
    """The same of the IoU with the slot's mask."""
    total_iou: float

    def shares(self) -> dict[str, float | None]:
        """Path -> its share of the score; None where donors change nothing."""
        return {path: value / self.total_score if self.total_score else None for path, value in self.score.items()}


@torch.no_grad()
def path_shares(predictor: Predictor, answer: Answered, donors: Sequence[Donor]) -> list[Paths]:
    """Of each of the answer's slots.

    Raises:
        InputError: a donor's instruction cannot be read, or what comes out is not finite.
    """
    images, instructions = [donor.image for donor in donors], [donor.instruction for donor in donors]
    for reading in predictor.readings(images, instructions):
        refuse_unreadable(reading, "--donor")
    responding = Responding(predictor.interface_model, predictor.confidence_threshold)
    thoughts = predictor.think(images, instructions)
    own = _sequences(answer.thoughts)[0]
    answers = _answers(predictor, [one for other in _sequences(thoughts) for one in (own, other)])
    count = len(donors)
    embeddings, valid = (part.expand(count, *part.shape[1:]) for part in (answer.thoughts.embeddings, answer.thoughts.valid))
    pictures = Pictures(embeddings, valid, answer.thoughts.sizes * count)
    found = []
    for slot in answer.slots:
        cells = [responding.to(cell_reading(answers, cell), pictures, [[slot]] * count) for cell in range(CELLS)]
        scores = np.stack([cell.scores for cell in cells], 1)
        overlaps = np.array([[iou(cell.masks[donor], cells[ALL].masks[donor]) for cell in cells] for donor in range(count)])
        values = [
            (dict(zip(PATHS, shapley(game).mean(0).tolist(), strict=True)), float((game[:, ALL] - game[:, 0]).mean()))
            for game in (scores, overlaps)
        ]
        found.append(Paths(*values[0], *values[1]))
    return found


def _sequences(thoughts: Thoughts) -> list[Spoken]:
    """The answers' tokens that have a type."""
    reading = thoughts.reading
    found = []
    for row, types in enumerate(reading.token_types):
        kept = types != OTHER
        found.append((thoughts.hidden[row, kept], types[kept], reading.ids[row, kept], reading.reference_states[row]))
    return found


def _answers(predictor: Predictor, sequences: Sequence[Spoken]) -> Answers:
    def padded(part: int, value: float) -> Tensor:
        return pad_sequence([one[part] for one in sequences], batch_first=True, padding_value=value, padding_side="left")

    ids = padded(2, 0)
    batch = AnswerBatch(padded(0, 0.0), padded(1, OTHER), ids, torch.stack([one[3] for one in sequences]), torch.zeros_like(ids))
    return Encoding(predictor.interface_model.dictionary, sequences[0][0]).answers(batch)
