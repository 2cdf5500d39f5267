"""The wording of prompts and the form of answers: one place for what the prompt demands and the format reward checks.

An answer is `<think>`, words, `</think>`, exactly K `<REF_POS>`, end of sequence (paper section 2, step 1). The release's format
reward demands one reference token where its prompt demands K; here both come from this module.
The embedded backbone, whose closed vocabulary knows no other words, has a wording of its own; checkpoints that bring a chat template are
asked in sentences, through that template.
"""

from collections.abc import Sequence
from dataclasses import dataclass

THINK_OPEN, THINK_CLOSE, REFERENCE = "<think>", "</think>", "<REF_POS>"
DESCRIBE = "describe the picture"
"""The instruction that asks for a caption."""


def prompt_parts(instruction: str, slots: int) -> tuple[str, str]:
    """(text up to and including the image, text after it) of a prompt of the embedded backbone; the second part names K."""
    return "USER: <image>", f"{instruction} ( think then {slots} masks ) ASSISTANT:"


def chat_request(instruction: str, slots: int) -> str:
    """What a pretrained chat model is asked for; its own chat template puts the image before it. Names the form of the answer and K."""
    return (
        f"Segment what this asks for: {instruction}\n"
        f"First reason step by step between {THINK_OPEN} and {THINK_CLOSE}: which objects are meant, how they look, where they are. "
        f"Then write {REFERENCE} exactly {slots} times and nothing else."
    )


def answer_text(thought: str, slots: int) -> str:
    """A well-formed answer without its end-of-sequence token."""
    return " ".join([THINK_OPEN, thought, THINK_CLOSE, *[REFERENCE] * slots])


@dataclass(frozen=True)
class SpecialIds:
    """Token ids that make up an answer's form."""

    open: int
    close: int
    reference: int
    end: int
    slots: int


STATUSES = ("ok", "no thought", "open thought", "reference count", "no end")
"""How an answer keeps the form, or what breaks it."""


def status_of(ids: Sequence[int], special: SpecialIds) -> str:
    """`ok`, or why an answer's ids (up to and including the end of the sequence) break the form.

    Returns:
        One of `STATUSES`.
    """
    answer = list(ids)
    if not answer or answer[0] != special.open or answer.count(special.open) != 1:
        return "no thought"
    if answer.count(special.close) != 1:
        return "open thought"
    close = answer.index(special.close)
    if special.reference in answer[:close]:
        return "reference count"
    if answer[-1] != special.end:
        return "no end"
    return "ok" if answer[close + 1 : -1] == [special.reference] * special.slots else "reference count"


def canonical(ids: Sequence[int], special: SpecialIds) -> list[int]:
    """The well-formed answer nearest to `ids`: its thought (opened and closed if need be), K reference tokens, the end."""
    form = {special.open, special.close, special.reference, special.end}
    answer = list(ids)
    stop = next((i for i, token in enumerate(answer) if token in form - {special.open}), len(answer))
    words = [token for token in answer[:stop] if token not in form]
    return [special.open, *words, special.close, *[special.reference] * special.slots, special.end]
