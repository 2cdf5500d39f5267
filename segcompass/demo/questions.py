"""What the demo asks of a run: answers, the concepts that carry them, edits; everything comes from `segcompass/explain/`.

An answer is asked for once. What no edit changes (thought, codes, keys, masks and gradients before it) stays with it, so that an edit runs
the interface and SAM's decoder alone. The concepts that carry the mask are those whose removal, measured alone, changes the score of one of
the answer's slots most; that takes seconds, so it is a question of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from segcompass.backbone.interface import Image
from segcompass.datasets.samples import checked_text
from segcompass.explain.answered import Answered, answered, concept_tokens
from segcompass.explain.carriers import carrying, known_attributes
from segcompass.explain.edit import Editable, EditedCodes, Outcome, Setting, Swap, codes_of, edited_codes
from segcompass.explain.explanation import falls_alone
from segcompass.explain.names import names_of
from segcompass.joint.inference import Predictor
from segcompass.joint.stored_run import StoredRun

LEVERS = 8
"""Concepts of an answer that can be turned."""
STRONGEST = 3.0
"""Greatest factor of a concept's codes."""


@dataclass(frozen=True)
class Lever:
    """A concept that carries an answer's mask, and can be turned."""

    concept: int
    fall: float
    """Of the score of the slot that it matters most to, when it is removed alone."""


@dataclass(frozen=True)
class Edited:
    """An edit and what it did."""

    codes: EditedCodes
    outcome: Outcome


class Question:
    """One answer of a run."""

    def __init__(self, run: "Run", answer: Answered) -> None:
        self.run, self.answer = run, answer

    @property
    def whole(self) -> bool:
        """The answer keeps the form; another one predicts nothing, and nothing of it can be edited."""
        return self.answer.prediction.status == "ok"

    @cached_property
    def editable(self) -> Editable:
        """The answer laid out for edits."""
        return Editable(self.run.predictor, self.answer)

    @cached_property
    def levers(self) -> list[Lever]:
        """The concepts whose removal changes a slot's score most, greatest change first."""
        concepts = self.editable.codes.concepts
        greatest = np.zeros(len(concepts))
        for places, falls in falls_alone(self.editable.chunk):
            own = greatest[places.cpu().numpy()]
            greatest[places.cpu().numpy()] = np.where(np.abs(falls) > np.abs(own), falls, own)
        order = np.argsort(-np.abs(greatest), kind="stable")[:LEVERS]
        found = [(int(concepts[int(place)]), float(greatest[place])) for place in order]
        return [Lever(*one) for one in found]

    def edited(self, factors: Mapping[int, float], swap: Swap | None) -> Edited:
        """The answer after an exchange of codes, and with the codes of each concept times its factor.

        Raises:
            InputError: a factor is none, or what comes out is not finite.
        """
        settings = [([concept], Setting.parsed(f"{concept}=x{factor}")) for concept, factor in factors.items() if factor != 1]
        codes = edited_codes(self.editable.codes, swap, settings, None, self.run.threshold)
        return Edited(codes, self.editable.edited(codes))


class Run:
    """A trained run that questions are put to."""

    def __init__(self, stored: StoredRun, predictor: Predictor) -> None:
        """Takes a run.

        Raises:
            InputError: it reads no concepts, or the names of its concepts are damaged.
        """
        self.stored, self.predictor = stored, predictor
        self.threshold = concept_tokens(predictor.interface_model).threshold
        self.names = names_of(stored.names, predictor.interface_model.dictionary.features)
        self.attributes = known_attributes(stored, self.names)
        """Those whose concepts can be exchanged by themselves."""
        self._carrying = cache(lambda attribute: carrying(stored, predictor, self.names, attribute, "attribute"))

    def ask(self, image: Image, instruction: object, field: str) -> Question:
        """The answer to an instruction about a picture, uint8 [height, width, 3]; `field` is what the user calls the instruction.

        Raises:
            InputError: the instruction cannot be read, or what comes out is not finite.
        """
        return Question(self, answered(self.predictor, image, checked_text(instruction, None, field), field=field))

    def swap(self, image: Image, instruction: object, attribute: str | None, field: str) -> Swap:
        """Codes of the answer to another picture: those that carry an attribute in thoughts, or all.

        Raises:
            InputError: the instruction cannot be read, or the run knows no concepts of the attribute.
        """
        concepts = None if attribute is None else self._carrying(attribute)
        return Swap(codes_of(self.predictor, self.ask(image, instruction, field).answer), concepts)
