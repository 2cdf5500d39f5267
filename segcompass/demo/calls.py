"""What each control of the demo's page does: values of the page in, new ones by name out. Faults are one sentence on the page.

| name | holds |
|---|---|
| `question`, `levers`, `swap` | of the session: the answer, the concepts that can be turned, and what has been exchanged |
| `before`, `after` | pictures with the mask's outline |
| `answer`, `edit`, `message` | HTML |
| `labels` | of the sliders, all at 1; those beyond the last one are hidden |
| `notice` | what the sliders are waiting for, or what they do |
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from segcompass.backbone.interface import Image
from segcompass.datasets.images import read_image
from segcompass.demo.questions import STRONGEST, Lever, Question, Run
from segcompass.demo.texts import alert, answer_text, edit_text, lever_label
from segcompass.errors import InputError
from segcompass.explain.edit import Swap
from segcompass.explain.picture import on_screen

Values = dict[str, Any]
Upload = Mapping[str, Any] | None
"""A file that the browser sent: `path`, `orig_name`."""
Given = ParamSpec("Given")

ALL = "all codes of the thought"
"""What is exchanged where no attribute is chosen."""
UNASKED = "They come with an answer: the concepts whose removal changes its score most."
MEASURING = "Each active concept is removed by itself, to see which ones carry the mask …"
READY = f"A slider multiplies its concept's codes on all tokens: 0 removes it, 1 leaves it as it is, {STRONGEST:g} is the most."
BROKEN = "Nothing carries an answer that predicts nothing."
CLEARED: Values = {"question": None, "levers": [], "swap": None, "before": None, "after": None, "answer": "", "edit": "", "labels": []}


def _said(call: Callable[Concatenate["Calls", Given], Values]) -> Callable[Concatenate["Calls", Given], Values]:
    """A call whose fault is said on the page, until another one has something to show."""

    @wraps(call)
    def guarded(self: "Calls", /, *args: Given.args, **kwargs: Given.kwargs) -> Values:
        try:
            values = call(self, *args, **kwargs)
            return {"message": "", **values} if values else {}
        except InputError as error:
            return {"message": alert(str(error))}

    return guarded


class Calls:
    """The controls of one run's page."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def ask(self, picture: Upload, instruction: object) -> Values:
        """Thinks and segments; what was there before goes, whatever comes of it."""
        return CLEARED | {"notice": UNASKED} | self._ask(picture, instruction)

    @_said
    def _ask(self, picture: Upload, instruction: object) -> Values:
        image = uploaded(picture, "the picture")
        question = self.run.ask(image, instruction, "the instruction")
        shown = on_screen(image, question.answer.prediction.mask)
        found = {"question": question, "before": shown, "answer": answer_text(question)}
        return found | ({"notice": MEASURING, "after": shown} if question.whole else {"notice": BROKEN})

    @_said
    def measure(self, question: Question | None) -> Values:
        """Finds the concepts that carry the mask."""
        if question is None or not question.whole:
            return {}
        levers = question.levers
        return {"levers": levers, "labels": [lever_label(lever, self.run.names) for lever in levers], "notice": READY}

    @_said
    def turn(self, question: Question | None, levers: Sequence[Lever], swap: Swap | None, *factors: float) -> Values:
        """Redraws the mask with each lever's codes times its factor."""
        return self._edited(question, levers, swap, factors)

    @_said
    def exchange(
        self,
        question: Question | None,
        levers: Sequence[Lever],
        picture: Upload,
        instruction: object,
        attribute: object,
        *factors: float,
    ) -> Values:
        """Takes codes from the answer to another picture, and redraws the mask."""
        if question is None:
            raise InputError(None, "the exchange", "needs an answer to change; segment a picture first")
        chosen = None if attribute == ALL else str(attribute)
        swap = self.run.swap(uploaded(picture, "the other picture"), instruction, chosen, "the other instruction")
        return {"swap": swap, **self._edited(question, levers, swap, factors)}

    @_said
    def undo(self, question: Question | None, levers: Sequence[Lever]) -> Values:
        """Takes every edit back."""
        return {
            "swap": None,
            "labels": [lever_label(lever, self.run.names) for lever in levers],
            **self._edited(question, levers, None, ()),
        }

    def _edited(self, question: Question | None, levers: Sequence[Lever], swap: Swap | None, factors: Sequence[float]) -> Values:
        if question is None or not question.whole:
            return {}
        turned = dict(zip((lever.concept for lever in levers), factors, strict=False))  # sliders without a lever are hidden
        edited = question.edited(turned, swap)
        return {"after": on_screen(question.answer.image, edited.outcome.mask_after), "edit": edit_text(edited, self.run.names)}


def uploaded(picture: Upload, field: str) -> Image:
    """The pixels of a file that the browser sent, uint8 [height, width, 3], by the rules that hold for every picture.

    Raises:
        InputError: there is none, or it cannot be read; its own name is said, not where it was put.
    """
    if not picture or not picture.get("path"):
        raise InputError(None, field, "is missing; choose a file or an example")
    try:
        return read_image(Path(picture["path"]))
    except InputError as error:
        raise InputError(picture.get("orig_name") or field, error.field, error.problem) from error
