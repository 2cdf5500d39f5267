"""What the page's controls do is what the commands do; faults are one sentence, and what is hostile stays text."""

from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from segcompass.cli import main
from segcompass.datasets.images import read_image
from segcompass.demo.calls import ALL, BROKEN, MEASURING, READY, Calls
from segcompass.demo.questions import LEVERS, Lever, Question, Run
from segcompass.demo.texts import alert, answer_text, edit_text, lever_label
from segcompass.explain import edit as edit_module
from segcompass.explain.answered import answered
from segcompass.explain.explanation import explain
from segcompass.explain.names import ConceptName, ConceptNames
from segcompass.explain.picture import on_screen
from segcompass.joint.inference import Predictor
from tests.demo.conftest import HOSTILE, upload

Sent = tuple[dict[str, Any], str]


@pytest.fixture(scope="module")
def question(calls: Calls, sent: Sent) -> Question:
    found: Question = calls.ask(*sent)["question"]
    assert found.whole
    return found


@pytest.fixture(scope="module")
def levers(calls: Calls, question: Question) -> list[Lever]:
    found: list[Lever] = calls.measure(question)["levers"]
    return found


def test_an_answer_is_that_of_predict(calls: Calls, sent: Sent, asked: tuple[Path, str]) -> None:
    image, found = read_image(asked[0]), calls.ask(*sent)
    answer = answered(calls.run.predictor, image, asked[1])
    assert np.array_equal(found["before"], on_screen(image, answer.prediction.mask)) and found["after"] is found["before"]
    assert found["message"] == "" and found["notice"] == MEASURING and found["labels"] == [] and found["swap"] is None
    assert answer.thought in Read(found["answer"]).text and answer.decision in Read(found["answer"]).text
    for confidence in answer.prediction.confidences:
        assert f"{confidence:.2f}" in found["answer"]


def test_levers_are_the_concepts_that_explain_lists(calls: Calls, question: Question, levers: list[Lever]) -> None:
    slots = explain(calls.run.predictor, question.answer, [], LEVERS).slots
    falls: dict[int, float] = {}
    for one in (one for slot in slots for one in slot.carrying):
        falls[one.concept] = max(falls.get(one.concept, 0.0), one.score_fall, key=abs)
    expected = sorted(falls, key=lambda concept: -abs(falls[concept]))[:LEVERS]
    assert [lever.concept for lever in levers] == expected
    assert [lever.fall for lever in levers] == pytest.approx([falls[concept] for concept in expected], rel=1e-3, abs=1e-4)
    found = calls.measure(question)
    assert found["labels"] == [lever_label(lever, calls.run.names) for lever in levers] and found["notice"] == READY


def test_a_turned_lever_is_the_edit_of_the_command(
    calls: Calls, question: Question, levers: list[Lever], sharp: Path, asked: tuple[Path, str], tmp_path: Path
) -> None:
    found = calls.turn(question, levers, None, 0, 3, *[1] * (LEVERS - 2))
    first, second = levers[:2]
    settings = [f"{first.concept}=x0", f"{second.concept}=x3"]
    assert main(["edit", str(asked[0]), asked[1], "--set", *settings, "--model", str(sharp), "--out", str(tmp_path / "out")]) == 0
    mask = np.asarray(Image.open(tmp_path / "out" / "after.png")) > 0
    before = question.editable.chunk.targets[0]
    assert mask.any() and before.any() and (mask != before).any()
    assert np.array_equal(found["after"], on_screen(read_image(asked[0]), mask))
    assert f"{mask.sum()} after" in found["edit"] and "Concepts with other codes: 2" in found["edit"]


def test_an_exchange_is_that_of_the_command(
    calls: Calls, question: Question, levers: list[Lever], sharp: Path, asked: tuple[Path, str], tmp_path: Path
) -> None:
    other, words = asked[0], "small ring"
    for attribute, more in (("shape", ["--attribute", "shape"]), (ALL, [])):
        found = calls.exchange(question, levers, upload(other), words, attribute, *[1] * LEVERS)
        folder = tmp_path / attribute
        command = ["edit", str(asked[0]), asked[1], "--swap-from", str(other), words, *more, "--model", str(sharp), "--out", str(folder)]
        assert main(command) == 0
        mask = np.asarray(Image.open(folder / "after.png")) > 0
        assert (mask != question.editable.chunk.targets[0]).any() and found["swap"] is not None
        assert np.array_equal(found["after"], on_screen(read_image(asked[0]), mask))
    turned = calls.turn(question, levers, found["swap"], *[1] * LEVERS)
    assert np.array_equal(turned["after"], found["after"]), "sliders move within the exchange"
    undone = calls.undo(question, levers)
    assert undone["swap"] is None and len(undone["labels"]) == len(levers)
    assert np.array_equal(undone["after"], on_screen(question.answer.image, question.editable.chunk.targets[0]))
    assert "No code is changed" in undone["edit"]


def test_turning_runs_neither_the_language_model_nor_the_keys_again(
    calls: Calls, question: Question, levers: list[Lever], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.turn(question, levers, None, 2)

    def refused(*args: object, **kwargs: object) -> None:
        raise AssertionError("was run again")

    model = question.run.predictor.interface_model
    monkeypatch.setattr(edit_module, "concept_chunk", refused)
    monkeypatch.setattr(Predictor, "think", refused)
    monkeypatch.setattr(model.interface.mapper, "keys", refused)
    monkeypatch.setattr(model.segmenter, "embed", refused, raising=False)
    assert "after" in calls.turn(question, levers, None, 0, 0.5)


def test_an_answer_that_breaks_the_form_has_nothing_to_turn(calls: Calls, question: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = question.answer
    broken = Question(calls.run, replace(answer, prediction=replace(answer.prediction, status="no thought")))
    monkeypatch.setattr(Run, "ask", lambda *_: broken)
    found = calls.ask(upload(Path(__file__).parents[2] / "docs" / "pictures" / "page.png"), "ring")
    assert found["notice"] == BROKEN and found["after"] is None and "breaks the form" in found["answer"]
    for silent in (
        calls.measure(broken),
        calls.turn(broken, [], None),
        calls.undo(broken, []),
        calls.measure(None),
        calls.turn(None, [], None),
    ):
        assert set(silent) <= {"message", "swap", "labels"} and not silent.get("message")
    assert calls.measure(None) == {}, "what was said stays"


def test_pictures_obey_the_one_reader(calls: Calls, asked: tuple[Path, str], tmp_path: Path) -> None:
    image = Image.open(asked[0])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.convert("RGBA").save(tmp_path / "clear.png")
    image.convert("P").save(tmp_path / "palette.png")
    for name in ("turned.jpg", "clear.png", "palette.png"):
        answer = calls.ask(upload(tmp_path / name), asked[1])["question"].answer
        assert np.array_equal(answer.image, read_image(tmp_path / name)), name
    assert calls.ask(upload(tmp_path / "turned.jpg"), asked[1])["question"].answer.image.shape[:2] == image.size


@pytest.mark.parametrize(
    ("file", "instruction", "said"),
    [
        (None, "ring", "the picture: is missing"),
        ("cut.png", "ring", "my cut.png: is not a readable image"),
        ("text.png", "ring", "my text.png: is not a readable image"),
        ("page.svg", "ring", "my page.svg: is not a readable image"),
        ("slender.png", "ring", "crop it"),
        ("good.png", " ", "the instruction: is not a text"),
        ("good.png", None, "the instruction: is not a text"),
        ("good.png", "zzz", "has no word that the model knows"),
        ("good.png", "x" * 10_001, "more than 10000"),
        ("good.png", "ring " * 2000, "shorten it"),
    ],
)
def test_faults_are_one_sentence(
    calls: Calls, asked: tuple[Path, str], question: Question, tmp_path: Path, file: str | None, instruction: Any, said: str
) -> None:
    Image.open(asked[0]).save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:-2000])
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "page.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='window.broken=1'/>")
    Image.new("RGB", (300, 1)).save(tmp_path / "slender.png")
    sent = upload(tmp_path / file) if file else None
    found = calls.ask(sent, instruction)
    assert said in Read(found["message"]).text and str(tmp_path) not in found["message"]
    assert found["question"] is None and found["before"] is None and found["labels"] == [] and found["answer"] == ""
    kept = calls.exchange(question, [], sent, instruction, ALL)
    assert set(kept) == {"message"} and kept["message"] == found["message"].replace("the picture", "the other picture").replace(
        "the instruction", "the other instruction"
    )


def test_other_faults_are_one_sentence_too(calls: Calls, question: Question, levers: list[Lever], sent: Sent) -> None:
    assert "colour, shape, size" in calls.exchange(question, levers, *sent, HOSTILE)["message"]
    assert "segment a picture first" in calls.exchange(None, [], *sent, ALL)["message"]
    for factor in (float("nan"), -1.0, 1e9, float("inf")):
        assert "0 to 1000" in calls.turn(question, levers, None, factor)["message"]


class Read(HTMLParser):
    """Text and tags of what is said, none of which runs anything."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags = "", set[str]()
        self.feed(text)
        assert self.tags <= {
            "p",
            "div",
            "bdi",
            "strong",
            "table",
            "caption",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "details",
            "summary",
            "ul",
            "li",
        }

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"class", "scope", "role"}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", [HOSTILE, "m" * 10_000])
def test_texts_of_strangers_are_text(question: Question, levers: list[Lever], text: str) -> None:
    answer = replace(question.answer, text=f"<think> {text} </think>", reading=replace(question.answer.reading, unknown=(text,)))
    assert Read(answer_text(Question(question.run, answer))).text.count(text) == 2
    names = ConceptNames(64, {lever.concept: ConceptName(words=(text,)) for lever in levers})
    edited = question.edited({levers[0].concept: 0.0}, None)
    assert text in Read(edit_text(edited, names)).text and text in Read(alert(text)).text
    label = lever_label(levers[0], names)
    assert f"\u2068words: {text}\u2069" in label, "its direction ends with it"


def test_without_scored_concepts_a_number_is_all_that_is_said(levers: list[Lever]) -> None:
    label: Mapping[bool, str] = {
        known: lever_label(levers[0], ConceptNames(64, {1: ConceptName()} if known else {})) for known in (True, False)
    }
    assert "fires on nothing" in label[True] and label[False].startswith(f"Concept {levers[0].concept}; removed: score ")
