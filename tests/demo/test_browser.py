"""The page in a real browser: headless Chromium against the page of an untrained run, served on the loopback address."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from segcompass.demo.examples import drawn_examples
from segcompass.demo.questions import LEVERS, Run
from segcompass.demo.serve import address_of, application, listener
from segcompass.explain.names import ConceptName
from tests.browser import TIMEOUT_MS, Tab
from tests.browser import browser as browser
from tests.demo.conftest import HOSTILE
from tests.tiny import micro_study

UPLOADED = "Method not implemented."
"""Warning of Gradio's own client at the end of every upload."""


class Site(NamedTuple):
    address: str
    run: Run


@pytest.fixture(scope="module")
def site(browser: Browser, shown: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page, on a port of its own; every concept has a hostile name."""
    names = {concept: ConceptName(words=(HOSTILE,)) for concept in range(shown.names.features)}
    known = dict(shown.names.names)
    shown.names.names.update(names)
    with listener("127.0.0.1", 0) as listening:
        app = application(shown, drawn_examples(micro_study().data)[:2], tmp_path_factory.mktemp("site"))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield Site(address_of(listening)[0], shown)
        server.should_exit = True
        thread.join()
    shown.names.names.clear()
    shown.names.names.update(known)


class Visit(Tab):
    """A tab on the page."""

    def __init__(self, browser: Browser, site: Site, width: int = 1400, scheme: str = "light") -> None:
        super().__init__(browser, width, scheme, offline=False)
        self.page.goto(site.address)
        expect(self.page.locator("#segment")).to_be_visible(timeout=TIMEOUT_MS)

    def choose(self, number: int = 0) -> Page:
        """Clicks an example and waits for its sliders."""
        self.page.locator("#examples tbody tr").nth(number).click()
        expect(self.page.locator(".lever:visible")).to_have_count(LEVERS, timeout=TIMEOUT_MS)
        return self.page

    def mask(self, name: str = "after") -> tuple[str, bytes]:
        """Address and bytes of a mask's picture."""
        source = self.page.locator(f"#{name} img").get_attribute("src", timeout=TIMEOUT_MS)
        assert source
        return source, self.context.request.get(source).body()

    def changed(self, before: str) -> bytes:
        """Bytes of the edited mask's picture, once it is another one."""
        expect(self.page.locator("#after img")).not_to_have_attribute("src", before, timeout=TIMEOUT_MS)
        return self.mask()[1]


def test_a_slider_changes_the_masks_bytes(browser: Browser, site: Site) -> None:
    visit = Visit(browser, site)
    page = visit.choose()
    before, bytes_before = visit.mask()
    assert bytes_before[:8] == b"\x89PNG\r\n\x1a\n" and bytes_before == visit.mask("before")[1]
    slider = page.locator(".lever input[type=range]").first
    assert [slider.get_attribute(name) for name in ("min", "max")] == ["0", "3"]
    slider.focus()
    page.keyboard.press("Home")
    assert visit.changed(before) != bytes_before
    expect(page.locator("#edit")).to_contain_text("Concepts with other codes: 1")
    assert visit.mask("before")[1] == bytes_before, "the answer's own mask stays"
    page.locator("#undo").click()
    expect(page.locator("#edit")).to_contain_text("No code is changed", timeout=TIMEOUT_MS)
    assert visit.mask()[1] == bytes_before and slider.input_value() == "1"
    visit.quiet(site.address)


def test_codes_are_exchanged_with_the_pair_of_an_example(browser: Browser, site: Site) -> None:
    visit = Visit(browser, site)
    page = visit.choose(1)
    bytes_before = visit.mask()[1]
    page.get_by_role("tab", name="Exchange codes").click()
    expect(page.locator("#other_picture img")).to_be_visible(timeout=TIMEOUT_MS)
    assert page.locator("#other_instruction textarea, #other_instruction input").first.input_value()
    assert page.get_by_label("Exchange", exact=True).input_value() == "shape"
    page.locator("#exchange").click()
    expect(page.locator("#edit")).to_contain_text("Concepts with other codes", timeout=TIMEOUT_MS)
    assert visit.mask("before")[1] == bytes_before
    visit.quiet(site.address)


def test_what_is_hostile_is_text_at_every_width(browser: Browser, site: Site, tmp_path: Path) -> None:
    for width, scheme in ((375, "dark"), (1400, "light")):
        visit = Visit(browser, site, width, scheme)
        page = visit.choose()
        label = page.locator(".lever").first
        assert HOSTILE in label.inner_text() and label.locator("bdo, a, script").count() == 0
        words = page.locator("#instruction textarea, #instruction input").first
        for text, said in ((f"ring {HOSTILE}", "the model does not know"), (f"{HOSTILE} {'x' * 10_000}", "more than 10000")):
            words.fill(text)
            page.locator("#segment").click()
            place = page.locator("#answer, #message").filter(has_text=said)
            expect(place).to_be_visible(timeout=TIMEOUT_MS)
            assert place.locator("script, img, a, bdo").count() == 0
        expect(page.locator("[role=alert]")).to_contain_text("shorten it")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("img:not([alt])").count() == 0
        visit.quiet(site.address)


def test_uploads_obey_the_one_reader(browser: Browser, site: Site, asked: tuple[Path, str], tmp_path: Path) -> None:
    visit = Visit(browser, site)
    page = visit.page
    (tmp_path / "cut.png").write_bytes(Path(asked[0]).read_bytes()[:400])
    Image.open(asked[0]).convert("CMYK").save(tmp_path / "print.jpg")
    for name, said in (("cut.png", "cut.png: is not a readable image"), ("print.jpg", "Thought")):
        page.locator("#picture input[type=file]").set_input_files(tmp_path / name)
        expect(page.locator("#picture img")).to_have_count(1, timeout=TIMEOUT_MS)
        page.locator("#instruction textarea, #instruction input").first.fill(asked[1])
        page.locator("#segment").click()
        expect(page.locator("#answer, #message").filter(has_text=said)).to_be_visible(timeout=TIMEOUT_MS)
        if name == "cut.png":
            page.locator("#picture button[aria-label=Clear], #picture button[aria-label='Remove Image']").first.click()
    visit.said = [text for text in visit.said if text != UPLOADED]
    visit.quiet(site.address)
