"""The demo's page, in Gradio: what stands where, and which call each control makes (calls.py).

A first call segments and shows the mask; a second one, which follows by itself, measures the concepts and shows their sliders. Pictures
and instructions are handed over as the browser sent them (`preprocess=False`): Gradio would open pictures itself, by other rules than
`segcompass/datasets/images.py`. That the file is one that was uploaded to it, Gradio has checked by then. One question is answered at a
time, since all share the processor, and of a slider's moves that wait, only the last is made.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image as PilImage

from segcompass.demo.calls import ALL, UNASKED, Calls, Values
from segcompass.demo.examples import Example
from segcompass.demo.questions import LEVERS, STRONGEST, Run
from segcompass.demo.texts import heading

SESSIONS = 16
"""Browser tabs whose answers are kept; each holds codes and maps of one picture."""
IN_TURN: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "run", "api_visibility": "private"}
ABOUT = "Ask for something in a picture. Turn the concepts that carry the mask, or exchange them with another picture, and see it move."
EXAMPLES = "Examples, each with a second picture that differs in one attribute of one object"

Parts = dict[str, Any]
"""Name -> component; each kind has events of its own."""


def page(run: Run, examples: Sequence[Example], folder: Path) -> gr.Blocks:
    """The page.

    Args:
        run: that answers.
        examples: pictures to try.
        folder: where they are put as files for Gradio to serve.
    """
    with gr.Blocks(title="SegCompass", analytics_enabled=False) as blocks:
        parts, sliders = _parts(run), [_slider() for _ in range(LEVERS)]
        gr.HTML(heading(ABOUT, run.stored.name), elem_id="about")
        for name in ("question", "levers", "swap", "message"):
            parts[name].render()
        with gr.Row():
            with gr.Column(min_width=300):
                for name in ("picture", "instruction", "segment"):
                    parts[name].render()
                tried = _tried(parts, [_row(example, folder) for example in examples])
            with gr.Column(scale=2, min_width=300):
                with gr.Row():
                    for picture, text in (("before", "answer"), ("after", "edit")):
                        with gr.Column(min_width=280):
                            parts[picture].render()
                            parts[text].render()
                with gr.Tab("Turn concepts"):
                    parts["notice"].render()
                    with gr.Row():
                        for slider in sliders:
                            slider.render()
                with gr.Tab("Exchange codes"), gr.Row():
                    with gr.Column(min_width=280):
                        parts["other_picture"].render()
                    with gr.Column(min_width=280):
                        for name in ("other_instruction", "attribute", "exchange"):
                            parts[name].render()
                parts["undo"].render()
        _wire(parts, sliders, Calls(run), [tried.load_input_event] if tried else [])
    blocks.state_session_capacity = SESSIONS
    return blocks


def _parts(run: Run) -> Parts:
    """Everything that a call reads or changes, by its name there; laid out by `page`."""
    return {
        "question": gr.State(render=False),
        "levers": gr.State([], render=False),
        "swap": gr.State(render=False),
        "message": gr.HTML(render=False, visible=False, elem_id="message"),
        "picture": _picture("Picture", "picture"),
        "instruction": _words("What to segment", "instruction"),
        "segment": gr.Button("Segment", variant="primary", render=False, elem_id="segment"),
        "before": _mask("Mask", "before", "The picture with the outline of the run's mask"),
        "answer": gr.HTML(render=False, apply_default_css=False, elem_id="answer"),
        "after": _mask("Mask after the edit", "after", "The picture with the outline of the mask after the edit"),
        "edit": gr.HTML(render=False, apply_default_css=False, elem_id="edit"),
        "notice": gr.HTML(UNASKED, render=False, elem_id="notice"),
        "other_picture": _picture("Other picture", "other_picture"),
        "other_instruction": _words("What to segment in it", "other_instruction"),
        "attribute": gr.Dropdown([ALL, *run.attributes], value=ALL, label="Exchange", render=False, elem_id="attribute"),
        "exchange": gr.Button("Exchange", variant="primary", render=False, elem_id="exchange"),
        "undo": gr.Button("Undo every edit", render=False, elem_id="undo"),
    }


def _picture(label: str, name: str) -> gr.Image:
    return gr.Image(label=label, type="filepath", sources=["upload", "clipboard"], height=260, render=False, elem_id=name)


def _words(label: str, name: str) -> gr.Textbox:
    return gr.Textbox(label=label, lines=1, max_lines=4, render=False, elem_id=name)


def _mask(label: str, name: str, alt: str) -> gr.Image:
    return gr.Image(
        label=label, alt_text=alt, interactive=False, buttons=["fullscreen"], format="png", height=340, render=False, elem_id=name
    )  # fmt: skip


def _slider() -> gr.Slider:
    return gr.Slider(0, STRONGEST, value=1, step=0.1, visible=False, min_width=280, render=False, elem_classes="lever", buttons=[])


def _row(example: Example, folder: Path) -> list[str]:
    """Values of picture, instruction, other picture, other instruction and attribute."""
    row = []
    for number, side in enumerate(example.sides):
        path = folder / f"{example.attribute}_{number}.png"
        PilImage.fromarray(side.image).save(path)
        row += [str(path), side.instruction]
    return [*row, example.attribute]


def _tried(parts: Parts, rows: Sequence[Sequence[str]]) -> Any:
    inputs = [parts[name] for name in ("picture", "instruction", "other_picture", "other_instruction", "attribute")]
    if not rows:
        return None
    return gr.Examples(
        [list(row) for row in rows],
        inputs,
        label=EXAMPLES,
        elem_id="examples",
        cache_examples=False,
        examples_per_page=len(rows),
        visible_columns=[0, 1, 4],
        api_visibility="private",
    )


def _wire(parts: Parts, sliders: Sequence[gr.Slider], calls: Calls, chosen: Sequence[Any]) -> None:
    """Ties controls to their calls; `chosen` are the events of an example that has been filled in."""

    def outputs(*names: str) -> list[Component]:
        return [*(parts[name] for name in names), *sliders]

    asked = ("question", "levers", "swap", "message", "before", "after", "answer", "edit", "notice")
    edited = ("swap", "message", "after", "edit")

    def call(function: Callable[..., Values]) -> Callable[..., dict[Component, Any]]:
        return lambda *values: _shown(function(*values), parts, sliders)

    question = [parts["picture"], parts["instruction"]]
    ask = {"fn": call(calls.ask), "inputs": question, "outputs": outputs(*asked), "preprocess": False, **IN_TURN}
    asks = [gr.on([parts["segment"].click, parts["instruction"].submit], trigger_mode="once", **ask), *(one.then(**ask) for one in chosen)]
    for one in asks:
        one.then(call(calls.measure), parts["question"], outputs("levers", "message", "notice"), show_progress="minimal", **IN_TURN)
    session = [parts["question"], parts["levers"]]
    moved = [slider.input for slider in sliders]
    gr.on(
        moved, call(calls.turn), [*session, parts["swap"], *sliders], outputs(*edited),
        trigger_mode="always_last", show_progress="hidden", **IN_TURN,
    )  # fmt: skip
    other = [parts[name] for name in ("other_picture", "other_instruction", "attribute")]
    parts["exchange"].click(call(calls.exchange), [*session, *other, *sliders], outputs(*edited), preprocess=False, **IN_TURN)
    parts["undo"].click(call(calls.undo), session, outputs(*edited), **IN_TURN)


def _shown(values: Values, parts: Parts, sliders: Sequence[gr.Slider]) -> dict[Component, Any]:
    """New values of components; those that are not named stay as they are."""
    labels = values.pop("labels", None)
    found: dict[Component, Any] = {parts[name]: value for name, value in values.items()}
    if "message" in values:
        found[parts["message"]] = gr.update(value=values["message"], visible=bool(values["message"]))
    if labels is not None:
        for place, slider in enumerate(sliders):
            there = place < len(labels)
            found[slider] = gr.update(value=1, visible=there, label=labels[place] if there else "")
    return found or gr.skip()
