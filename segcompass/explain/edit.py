"""What if: concepts are set, scaled or taken from another answer, and the mask is looked at before and after; words and picture stay.

1. `Setting`: a concept's code becomes a value on the tokens where it is active, or on all tokens of the thought where it is active on none;
   or it is multiplied by a factor wherever it is active.
2. `Swap`: codes are taken from another answer, token by token: the next token of the same type stands for each, from the beginning again
   where the other answer has fewer. With an attribute these are the concepts that carry it in thoughts (carriers.py), else all.
Swaps come first, then settings in their order. Codes below the interface's threshold count as 0 before and after.

The change of a slot's score is predicted by its gradient where the answer stands, times the change of the codes: for a removal, minus the
concept's contribution. Observed is the score after less the score before, by the mask before; the same of SAM's mask logits. The sham is
the same edit with nothing changed: not one bit of the mask logits may differ.

Shape letters: T tokens, T' tokens of the other answer, u edited concepts, R rows (slots), K slots, m side of low-resolution maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from segcompass.causal.edits import KINDS, SampleCodes, aligned
from segcompass.causal.overlap import iou
from segcompass.causal.units import ConceptUnits
from segcompass.errors import InputError
from segcompass.explain.answered import Answered, concept_chunk, sample_codes
from segcompass.joint.inference import Predictor
from segcompass.joint.reading import Shown
from segcompass.numerics.finite import refuse_unfinite
from segcompass.protocols.no_target import confident_slots

MOST = 1000.0
"""Of values and factors."""
FLAG = "--set"


@dataclass(frozen=True)
class Setting:
    """`CONCEPT=VALUE` or `CONCEPT=xFACTOR`."""

    name: str
    """Of the concept, or its number, as it was written."""
    number: float
    scaled: bool

    @classmethod
    def parsed(cls, text: str) -> "Setting":
        """What a user wrote.

        Raises:
            InputError: it has another form, or its number is negative, above `MOST` or none.
        """
        name, equals, number = text.rpartition("=")
        if not equals or not name.strip():
            raise InputError(None, FLAG, f"is `{text[:60]}`; write CONCEPT=VALUE or CONCEPT=xFACTOR, as in red=0 or 12=x2")
        scaled = number.strip().lower().startswith("x")
        digits = number.strip()[scaled:]
        try:
            value = float(digits)
        except ValueError:
            value = float("nan")
        if not 0 <= value <= MOST:
            raise InputError(
                None,
                FLAG,
                f"sets `{name.strip()[:40]}` to `{number[:40]}`; give a number from 0 to {MOST:g}, or x and a factor in that range",
            )
        return cls(name.strip(), value, scaled)


@dataclass(frozen=True)
class Swap:
    """Codes of another answer."""

    other: SampleCodes
    concepts: list[int] | None
    """Those that are taken; None takes all."""


@dataclass(frozen=True)
class EditedCodes:
    """Codes of one sample before and after, over the concepts that may differ."""

    concepts: Tensor
    """int64 [u], ascending."""
    old: Tensor
    """[T, u]."""
    new: Tensor
    """[T, u]."""
    kinds: Tensor
    """int64 [T], rows by token type."""

    def changed(self) -> list[tuple[int, dict[str, float]]]:
        """Concepts whose codes changed, and by how much in sum on tokens of each type."""
        change = self.new - self.old
        sums = {name: change[self.kinds == kind].sum(0).tolist() for name, kind in KINDS.items()}
        places = (change != 0).any(0).nonzero()[:, 0].tolist()
        return [(int(self.concepts[place]), {name: values[place] for name, values in sums.items()}) for place in places]


def edited_codes(
    own: SampleCodes, swap: Swap | None, settings: Sequence[tuple[list[int], Setting]], where: Sequence[str] | None, threshold: float
) -> EditedCodes:
    """Codes of a sample after a swap and some settings.

    Args:
        own: of the sample.
        swap: what is taken from another answer.
        settings: each with the concepts that it is of.
        where: token types that may change; None: the thought's for swaps, all for settings.
        threshold: of the interface.
    """
    named = [own.concepts, *(torch.tensor(concepts, device=own.concepts.device) for concepts, _ in settings)]
    concepts = torch.unique(torch.cat([*named, *([swap.other.concepts] if swap else [])]))
    old = own.at(concepts)
    new = old.clone()
    if swap:
        source = aligned(own.kinds, swap.other.kinds)
        tokens = _among(own.kinds, where or ("thought",)) & (source >= 0)
        taken = (
            torch.ones_like(concepts, dtype=torch.bool)
            if swap.concepts is None
            else torch.isin(concepts, concepts.new_tensor(swap.concepts))
        )
        given = swap.other.at(concepts)[source.clamp(min=0)]
        new = torch.where(tokens[:, None] & taken, given, new)
    for chosen, setting in settings:
        for place in torch.searchsorted(concepts, concepts.new_tensor(chosen)).tolist():
            active = (new[:, place] != 0) & _among(own.kinds, where or tuple(KINDS))
            if setting.scaled:
                new[active, place] *= setting.number
            else:
                new[active if active.any() else _among(own.kinds, where or ("thought",)), place] = setting.number
    return EditedCodes(concepts, old, torch.where(new.abs() >= threshold, new, 0.0), own.kinds)


@dataclass(frozen=True)
class Outcome:
    """What an edit did to an answer."""

    slots: list[int]
    mask_before: np.ndarray
    """bool [height, width], union of the slots that were fixed before."""
    mask_after: np.ndarray
    confidences_after: list[float]
    """[K]."""
    slots_after: tuple[int, ...]
    """Those that the confidences would choose now."""
    score: float
    """Mean over the fixed slots before the edit."""
    observed: float | None
    """Change of the score; None where the words changed, and nothing was predicted."""
    predicted: float | None
    observed_mask: float | None
    """The same of SAM's mask logits."""
    predicted_mask: float | None
    sham: tuple[int, int]
    """Mask logits that the sham changed, of how many."""

    @property
    def iou(self) -> float:
        """Of the mask with itself before."""
        return iou(self.mask_before, self.mask_after)


class Editable:
    """An answer that is edited, perhaps again and again: what no edit changes (keys, masks and gradients before it) is computed once."""

    def __init__(self, predictor: Predictor, answer: Answered) -> None:
        """Lays an answer of a run out.

        Raises:
            InputError: the run reads no concepts.
        """
        self.answer, self._threshold = answer, predictor.confidence_threshold
        self.chunk = concept_chunk(predictor.interface_model, answer)
        units = self.chunk.units
        assert isinstance(units, ConceptUnits)
        self._units = units
        (self.codes,) = units.samples
        """Codes that edits change."""

    @cached_property
    def _gradients(self) -> tuple[Tensor, Tensor]:
        """Of the score, and of the same of SAM's mask logits, with respect to the tokens [R, T, q]."""
        return self.chunk.gradient(1.0), self.chunk.gradient(1.0, self.chunk.mask_response)

    def edited(self, codes: EditedCodes) -> Outcome:
        """Looks at the answer before and after its codes are edited.

        Raises:
            InputError: what comes out is not finite.
        """
        chunk, watched = self.chunk, self.chunk.watched
        sham, after = (self._with(replace(codes, new=new)) for new in (codes.old, codes.new))
        with torch.no_grad():
            heat = watched.heat(after)
            logits = watched.mask_logits(heat)
            refuse_unfinite({"mask logits": logits}, None, "the edit is too strong for the run; take smaller values")
            score = float(chunk.score.mean())
            observed = float((watched.score(heat) - chunk.score).mean())
            observed_mask = float((watched.score(logits) - watched.score(watched.before)).mean())
            same = watched.mask_logits(watched.heat(sham))
            confidences = watched.confidences(
                replace(after, **{name: getattr(after, name)[:1] for name in ("tokens", "read", "thought", "references")})
            )[0]
        difference = after.tokens - self._units.whole.tokens
        predicted, predicted_mask = (float((gradient * difference).sum() / len(self.answer.slots)) for gradient in self._gradients)
        differing = int((same.view(torch.int32) != watched.before.view(torch.int32)).sum())
        return Outcome(
            slots=self.answer.slots,
            mask_before=chunk.targets[0],
            mask_after=watched.unions(logits)[0],
            confidences_after=confidences.tolist(),
            slots_after=confident_slots(confidences.tolist(), self._threshold),
            score=score,
            observed=observed,
            predicted=predicted,
            observed_mask=observed_mask,
            predicted_mask=predicted_mask,
            sham=(differing, same.numel()),
        )

    def _with(self, codes: EditedCodes) -> Shown:
        """What is shown of every row with the edited codes."""
        units = self._units
        return units.with_tokens(units.whole.tokens - (codes.old - codes.new) @ units.rows[codes.concepts])


def other_words(predictor: Predictor, before: Answered, after: Answered) -> Outcome:
    """Looks at the same slots of two answers to one question, which differ in their words; nothing is predicted."""
    first, second = (concept_chunk(predictor.interface_model, answer, before.slots) for answer in (before, after))
    again = concept_chunk(predictor.interface_model, before)
    differing = int((first.watched.before.view(torch.int32) != again.watched.before.view(torch.int32)).sum())
    return Outcome(
        slots=before.slots,
        mask_before=first.targets[0],
        mask_after=second.targets[0],
        confidences_after=after.prediction.confidences.tolist(),
        slots_after=after.prediction.slots,
        score=float(first.score.mean()),
        observed=None,
        predicted=None,
        observed_mask=None,
        predicted_mask=None,
        sham=(differing, again.watched.before.numel()),
    )


def codes_of(predictor: Predictor, answer: Answered) -> SampleCodes:
    """Codes that a swap takes, or an edit changes."""
    return sample_codes(predictor.interface_model, answer.thoughts)


def _among(kinds: Tensor, names: Sequence[str]) -> Tensor:
    return torch.isin(kinds, kinds.new_tensor([KINDS[name] for name in names]))
