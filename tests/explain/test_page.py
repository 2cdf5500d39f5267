"""The page shows texts of strangers as text, fetches nothing, and runs nothing."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from segcompass.datasets.images import read_image
from segcompass.explain.answered import answered
from segcompass.explain.donors import Donor
from segcompass.explain.explanation import Explanation, explain
from segcompass.explain.names import ConceptName, ConceptNames
from segcompass.explain.page import page
from segcompass.explain.picture import explanation_figure, save
from segcompass.joint.inference import Predictor

HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "\u202egnir der\u202c & \u2067x\u2069",
    "{{ 7 * 7 }}{% raw %}",
    "$x_1$ " + "m" * 10_000,
)


class Read(HTMLParser):
    """Text, tags and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.links = "", set[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def found(predictor: Predictor, asked: tuple[Path, str]) -> Explanation:
    image = read_image(asked[0])
    return explain(predictor, answered(predictor, image, asked[1]), [], 3)


@pytest.mark.parametrize("text", HOSTILE, ids=["script", "attribute", "direction", "template", "long"])
def test_texts_are_shown_as_they_are(found: Explanation, text: str, tmp_path: Path) -> None:
    answer = replace(
        found.answer, instruction=text, text=f"<think> {text} </think>", reading=replace(found.answer.reading, unknown=(text,))
    )
    words = [(text, "thought") for _ in found.words]
    donors = [Donor(found.answer.image, text, text)]
    names = ConceptNames(64, {one.concept: ConceptName("colour", text, 0.9, (text,)) for slot in found.slots for one in slot.carrying})
    hostile = replace(found, answer=answer, words=words, donors=donors)
    read = Read(page(hostile, names, text))
    times = 5 + sum(len(slot.carrying) * (2 + len(words)) for slot in found.slots)
    assert read.text.count(text) >= times
    assert read.links and all(link.startswith("data:image/png;base64,") for link in read.links)
    assert not read.tags & {"script", "link", "iframe", "object", "form", "a"}
    save(explanation_figure(hostile, names), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
