"""Why this mask: the concepts that carried each slot, what removing each of them does, and how far the list predicts the mask's change.

| of | figure | formula | from |
|---|---|---|---|
| concept | `contribution` | sum over tokens of code times gradient of the slot's score; by token type they add up to it | units.py |
| concept | `score_fall` | score before less score once the concept's codes are 0 on all tokens: measured, alone | curve.py's rule |
| concept | `iou_after` | IoU of the slot's mask once the concept is removed with the mask before; 1 where nothing changed | |
| slot | `rank_correlation` | Spearman of contributions and falls of all active concepts | attribution.py |
| slot | `together` | the m concepts of the list with the greatest falls are removed together | |
| slot | `paths` | Shapley values of visual, instruction and thought codes and of the reference state, against donors | path_shares.py |
| sample | `traceability` | fall of the score without the m greatest contributors, predicted and observed | traceability.py |

A slot's score says how far its heat map stands out inside the mask that it had, in logits (watched.py); no truth is used. The list holds
the concepts whose removal changes the score most: what carried the slot is measured, not told by a gradient. Contributions are a linear
account of a model that is not linear; they stand beside, and `rank_correlation` and `traceability` say how far they hold here.

Shape letters: T tokens, A active concepts, L listed ones, R rows (slots), m side of low-resolution maps, v visual tokens, D donors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from segcompass.backbone.token_types import INSTRUCTION, THOUGHT, VISUAL
from segcompass.causal.chunk import Chunk
from segcompass.causal.edits import KINDS, Edit, SampleCodes
from segcompass.causal.estimands import spearman
from segcompass.causal.overlap import iou
from segcompass.causal.traceability import traceability
from segcompass.causal.units import ConceptUnits
from segcompass.causal.watched import slot_score
from segcompass.explain.answered import Answered, concept_chunk
from segcompass.explain.donors import Donor
from segcompass.explain.path_shares import Paths, path_shares
from segcompass.joint.inference import Predictor, Thoughts
from segcompass.joint.reading import Shown

LISTED = 16
"""Concepts of a slot's list."""
MEASURED = 1024
"""At most so many active concepts are removed alone: those with the greatest absolute contributions."""
AT_ONCE = 64
"""Of these, in one pass through the interface."""
SIZES = (1, 4, 16)
"""Sizes of the sets that are removed together; those of the default study."""
STEPS = 16
"""Of integrated gradients, likewise."""


FIGURES = ("observed", "predicted", "predicted_integrated", "observed_mask", "predicted_mask")
"""Measures of traceability.py that are taken over."""


@dataclass(frozen=True)
class Carrying:
    """One concept of a slot's list."""

    concept: int
    contribution: float
    by_tokens: dict[str, float]
    """Token type -> its part of the contribution."""
    integrated: float
    """Contribution by integrated gradients."""
    score_fall: float
    iou_after: float
    strongest: dict[str, float]
    """Token type -> greatest code, 0 where it is not active."""
    words: list[float]
    """Code on each of `Explanation.words`."""
    patches: np.ndarray
    """Code on each visual token, [v]."""
    effect: np.ndarray
    """Heat-map logits before less those after it is removed, [m, m]."""

    @property
    def absolute(self) -> float:
        """Sum of the absolute parts of the contribution: what shares of token types are of."""
        return sum(map(abs, self.by_tokens.values()))


@dataclass(frozen=True)
class Together:
    """The `removed` first of a slot's list are removed together."""

    removed: int
    score_fall: float
    alone: float
    """Sum of their falls, each alone."""
    contribution: float
    """Sum of their contributions."""
    iou_after: float


@dataclass(frozen=True)
class Slot:
    """One slot that is looked at."""

    slot: int
    confidence: float
    confident: bool
    score: float
    mask: np.ndarray
    """bool [height, width]."""
    heat: np.ndarray
    """Probabilities [m, m]."""
    active: int
    """A."""
    contribution: float
    """Sum over all active concepts."""
    carrying: list[Carrying]
    """Greatest change of the score first."""
    rank_correlations: dict[str, float]
    """Spearman of falls and contributions by `integrated` gradients and by `gradient` times activation; NaN where they do not vary."""
    together: list[Together]
    paths: Paths | None


@dataclass(frozen=True)
class Traced:
    """The `removed` strongest of each slot's list are removed together; means over the slots."""

    removed: int
    observed: float
    """Fall of the score."""
    predicted: float
    """Sum of the contributions."""
    predicted_integrated: float
    observed_mask: float
    """Fall of the same score of SAM's mask logits."""
    predicted_mask: float
    iou_after: float
    """IoU of the slots' union with itself before."""


@dataclass(frozen=True)
class Explanation:
    """Of one answer."""

    answer: Answered
    words: list[tuple[str, str]]
    """Token of the instruction or of the thought, and its type."""
    slots: list[Slot]
    traced: list[Traced]
    score: float
    """Mean over the slots before any edit: the scale of what `traced` holds."""
    donors: list[Donor]

    def errors(self) -> dict[str, float]:
        """|predicted - observed| of the largest set in units of the score, by `integrated` gradients and by `gradient` times activation."""
        if not self.traced or not self.score:
            return {"integrated": float("nan"), "gradient": float("nan")}
        last = self.traced[-1]
        told = {"integrated": last.predicted_integrated, "gradient": last.predicted}
        return {name: abs(value - last.observed) / abs(self.score) for name, value in told.items()}


def explain(predictor: Predictor, answer: Answered, donors: Sequence[Donor], listed: int = LISTED) -> Explanation:
    """Explains an answer that keeps the form.

    Args:
        predictor: the run.
        answer: of it.
        donors: other pictures and what is asked of them; without any, paths are left out.
        listed: concepts of a slot's list.

    Raises:
        InputError: the run reads no concepts, a donor's instruction cannot be read, or what comes out is not finite.
    """
    chunk = concept_chunk(predictor.interface_model, answer)
    shares = path_shares(predictor, answer, donors) if donors else [None] * len(answer.slots)
    slots = [_slot(predictor, answer, slot, listed, paths) for slot, paths in zip(answer.slots, shares, strict=True)]
    score = float(chunk.watched.of_samples(chunk.score)[0])
    return Explanation(answer, _words(predictor, answer.thoughts), slots, traced(chunk, listed, sizes_of(listed)), score, list(donors))


def unexplained(predictor: Predictor, answer: Answered) -> Explanation:
    """Of an answer that breaks the form: it predicts nothing, so nothing carried it."""
    return Explanation(answer, _words(predictor, answer.thoughts), [], [], 0.0, [])


def traced(chunk: Chunk, listed: int, sizes: Sequence[int], steps: int = STEPS) -> list[Traced]:
    """The traceability of one sample, as the battery has it, with what becomes of the mask."""
    found = {(one.arm, one.at, one.measure): float(one.values[0]) for one in traceability(chunk, listed, sizes, steps)}
    units = chunk.units
    lists = [torch.argsort(values.abs(), descending=True, stable=True)[:listed] for values in chunk.gradients]
    rows = []
    for size in sizes:
        with torch.no_grad():
            heat = chunk.watched.heat(units.removed([Edit.whole(places[:size]) for places in lists]))
            (after,) = chunk.watched.unions(chunk.watched.mask_logits(heat))
        figures = {name: found["top", str(size), name] for name in FIGURES}
        rows.append(Traced(removed=size, iou_after=iou(after, chunk.targets[0]), **figures))
    return rows


@torch.no_grad()
def falls_alone(chunk: Chunk) -> list[tuple[Tensor, np.ndarray]]:
    """What removing a concept does to the score of each row's slot, measured as `causal.attribution.ablated_alone` does, many at once.

    Returns:
        Of each row the places of the concepts that were removed, each alone, int64 [n] ascending, and the falls of the score [n].
    """
    assert isinstance(chunk.units, ConceptUnits)
    found = []
    for row, values in enumerate(chunk.gradients):
        tried = torch.argsort(values.abs(), descending=True, stable=True)[:MEASURED].sort().values
        falls = [_falls(chunk, chunk.units, row, places) for places in tried.split(AT_ONCE)]
        found.append((tried, torch.cat(falls).double().cpu().numpy() if falls else np.empty(0)))
    return found


def _falls(chunk: Chunk, units: ConceptUnits, row: int, places: Tensor) -> Tensor:
    """Falls [n] of one row's score without each of the concepts at `places` [n]."""
    watched, own = chunk.watched, units.samples[units.owner[row]]

    def repeated(part: Tensor) -> Tensor:
        return part[row : row + 1].expand(len(places), *part.shape[1:])

    shown = Shown(*(repeated(getattr(units.whole, part.name)) for part in fields(Shown)))
    # A concept adds to each token its code there times its row.
    added = own.codes.T[places, :, None] * units.rows[own.concepts[places], None]
    shown = replace(shown, tokens=shown.tokens - added)
    heat = watched.model.interface.maps(shown, repeated(watched.keys), repeated(watched.slot))[0][:, 0]
    return chunk.score[row] - slot_score(heat, repeated(watched.before), repeated(watched.valid))


@torch.no_grad()
def _slot(predictor: Predictor, answer: Answered, slot: int, listed: int, paths: Paths | None) -> Slot:
    model, prediction = predictor.interface_model, answer.prediction
    chunk = concept_chunk(model, answer, [slot])
    units, watched = chunk.units, chunk.watched
    assert isinstance(units, ConceptUnits)
    (codes,), gradient = units.samples, chunk.gradient(1.0)[0]
    of_tokens = codes.codes * (gradient @ units.rows[codes.concepts].T)
    contributions, integrated = of_tokens.sum(0), chunk.integrated(STEPS)[0]
    ((tried, falls),) = falls_alone(chunk)
    order = tried[torch.from_numpy(np.argsort(-np.abs(falls), kind="stable")[:listed].copy())]
    before = watched.heat(units.whole)
    carrying, together = [], []
    if len(order):
        alone = concept_chunk(model, answer, [slot] * len(order))
        heat = alone.watched.heat(alone.units.removed([Edit.whole([int(place)]) for place in order]))
        measured = chunk.score - alone.watched.score(heat)
        masks = model.segmenter.to_image(alone.watched.mask_logits(heat), watched.sizes[0])
        for row, place in enumerate(order.tolist()):
            carrying.append(
                Carrying(
                    concept=int(codes.concepts[place]),
                    contribution=float(contributions[place]),
                    by_tokens={name: float(of_tokens[codes.kinds == kind, place].sum()) for name, kind in KINDS.items()},
                    integrated=float(integrated[place]),
                    score_fall=float(measured[row]),
                    iou_after=iou(np.asarray(masks[row]), chunk.targets[0]),
                    strongest=_strongest(codes, place),
                    words=codes.codes[_is_word(answer.thoughts), place].tolist(),
                    patches=codes.codes[answer.thoughts.reading.token_types[0] == VISUAL, place].cpu().numpy(),
                    effect=(before[0] - heat[row]).cpu().numpy(),
                )
            )
        together = [_together(chunk, order, carrying, size) for size in sizes_of(listed) if size <= len(order)]
    return Slot(
        slot=slot,
        confidence=float(prediction.confidences[slot]),
        confident=slot in prediction.slots,
        score=float(chunk.score[0]),
        mask=chunk.targets[0],
        heat=before[0].sigmoid().cpu().numpy(),
        active=len(codes.concepts),
        contribution=float(contributions.sum()),
        carrying=carrying,
        rank_correlations={
            name: spearman(values[tried].double().cpu().numpy(), falls)
            for name, values in (("integrated", integrated), ("gradient", contributions))
        },
        together=together,
        paths=paths,
    )


def _together(chunk: Chunk, order: Tensor, carrying: Sequence[Carrying], size: int) -> Together:
    heat = chunk.watched.heat(chunk.units.removed([Edit.whole(order[:size])]))
    (after,) = chunk.watched.unions(chunk.watched.mask_logits(heat))
    first = carrying[:size]
    sums = sum(one.score_fall for one in first), sum(one.contribution for one in first)
    return Together(size, float(chunk.score[0] - chunk.watched.score(heat)[0]), *sums, iou(after, chunk.targets[0]))


def sizes_of(listed: int) -> list[int]:
    """Sizes of the sets that are removed together from a list."""
    return sorted({min(size, listed) for size in (*SIZES, listed)})


def _strongest(codes: SampleCodes, place: int) -> dict[str, float]:
    return {
        name: float(codes.codes[codes.kinds == kind, place].amax(0)) if (codes.kinds == kind).any() else 0.0 for name, kind in KINDS.items()
    }


def _is_word(thoughts: Thoughts) -> Tensor:
    types = thoughts.reading.token_types[0]
    return (types == INSTRUCTION) | (types == THOUGHT)


def _words(predictor: Predictor, thoughts: Thoughts) -> list[tuple[str, str]]:
    chosen = _is_word(thoughts)
    ids, types = thoughts.reading.ids[0, chosen], thoughts.reading.token_types[0, chosen]
    return [
        (predictor.model.vlm.text(one[None]), "thought" if kind == THOUGHT else "instruction") for one, kind in zip(ids, types, strict=True)
    ]
