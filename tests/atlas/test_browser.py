"""The page in a real browser, from a file and without a network: headless Chromium of the operating system, driven by Playwright."""

import csv
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from segcompass.atlas.page import atlas_page
from tests.atlas.content import INSTRUCTION, SCRIPT, content
from tests.browser import TIMEOUT_MS, Tab
from tests.browser import browser as browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    (root / "atlas.html").write_text(atlas_page(content()), encoding="utf-8")
    (root / "photographs.html").write_text(atlas_page(content(attributes=False)), encoding="utf-8")
    return root


class Opened(Tab):
    """A tab on a file, without a network."""

    def go(self, file: Path, place: str = "") -> Page:
        self.page.goto("about:blank")
        self.page.goto(f"{file.as_uri()}{place}")
        return self.page


def ids(page: Page) -> list[str]:
    return page.locator("#table tbody tr td:first-child").all_inner_texts()


def test_table_filter_search_and_download(browser: Browser, folder: Path) -> None:
    opened, file = Opened(browser), folder / "atlas.html"
    page = opened.go(file)
    expect(page.locator("#table tbody tr")).to_have_count(2, timeout=TIMEOUT_MS)
    assert ids(page) == ["12", "7"], "the greatest effect first, those without a measured one last"
    page.locator("#table thead th", has_text="density").click()
    assert ids(page) == ["7", "12"]
    page.locator("#measured").check()
    assert ids(page) == ["12"]
    page.locator("#measured").uncheck()
    page.locator("#search").fill("script")
    assert ids(page) == ["7"]
    with page.expect_download() as download:
        page.get_by_text("CSV").click()
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file_:
        (row,) = csv.DictReader(file_)
    assert row == {
        "id": "7", "best": SCRIPT, "attribute": "colour", "AUROC": "0.9", "words": SCRIPT[:40], "density": "0.17",
        "effect": "", "effect low": "", "effect high": "", "effect samples": "0",
    }  # fmt: skip
    expect(page.locator("#map svg")).to_be_visible(timeout=TIMEOUT_MS)
    expect(page.locator("#map")).to_have_attribute("aria-label", "Map of concepts: principal components of decoder rows")
    opened.quiet(file.as_uri())


def test_deep_links_and_keys(browser: Browser, folder: Path) -> None:
    opened, file = Opened(browser), folder / "atlas.html"
    page = opened.go(file, "#concept=7")
    expect(page.locator("h2")).to_contain_text("Concept 7", timeout=TIMEOUT_MS)
    expect(page.locator("#detail")).to_contain_text(
        "not measured: removing every concept by itself would take hours, so the 64 with the greatest"
    )
    page.keyboard.press("k")
    expect(page.locator("h2")).to_contain_text("Concept 12")
    expect(page.locator("#detail")).to_contain_text("0.75 [0.5, 0.875]")
    expect(page.locator("#detail .chart svg")).to_have_count(4, timeout=TIMEOUT_MS)
    expect(page.locator("#detail .chart[aria-label*='concept 12']")).to_have_count(4)
    expect(page.locator("[aria-label='Matches in other dictionaries'] tbody tr")).to_have_text("randomuntrained40.80.8")
    page.keyboard.press("ArrowRight")
    expect(page.locator("h2")).to_contain_text("Concept 7")
    assert page.url.endswith("#concept=7")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("red")
    assert ids(page) == ["12"]
    page.keyboard.press("Escape")
    assert ids(page) == ["12", "7"] and page.locator("#search").input_value() == ""
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    page.locator("#table tbody tr").first.click()
    expect(page.locator("h2")).to_contain_text("Concept 12")
    opened.go(file, "#concept=3")
    expect(page.locator("#detail")).to_contain_text("Not shown")
    opened.go(file, "#concept=99999")
    expect(page.locator("#detail")).to_contain_text("no such concept")
    opened.quiet(file.as_uri())


def test_every_text_is_shown_as_text_and_every_picture_has_words(browser: Browser, folder: Path) -> None:
    opened, file = Opened(browser, width=375, scheme="dark"), folder / "atlas.html"
    page = opened.go(file, "#sample=0")
    expect(page.locator("#instruction")).to_have_text(INSTRUCTION, timeout=TIMEOUT_MS)
    assert page.locator("#instruction").evaluate("node => node.children.length") == 0
    expect(page.locator(".token", has_text="script")).to_have_text(SCRIPT)
    coloured = page.locator(".token[style]")
    expect(coloured).to_have_text("red")
    expect(page.locator("figcaption", has_text="without concept 12")).to_be_visible()
    expect(
        page.locator("figcaption", has_text="without the 64 greatest contributors together (IoU with itself 0.25, score −2.5)")
    ).to_be_visible()
    opened.go(file, "#swaps")
    expect(page.locator("#detail h3")).to_have_text(f"colour: red to {SCRIPT} the mask moves", timeout=TIMEOUT_MS)
    expect(page.locator("#detail figcaption", has_text="IoU 0.1 with the own target, 0.8 with the other")).to_be_visible()
    expect(page.locator("#detail .note")).to_contain_text("and 3 more")
    assert page.locator("img:not([alt])").count() == 0
    for place in ("#sample=0", "#concept=7", "#swaps", "#about", ""):
        opened.go(file, place)
        expect(page.locator("#table tbody tr")).to_have_count(2, timeout=TIMEOUT_MS)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, place
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    opened.quiet(file.as_uri())


def test_photographs_have_no_purity(browser: Browser, folder: Path) -> None:
    opened, file = Opened(browser), folder / "photographs.html"
    page = opened.go(file)
    expect(page.locator("#table tbody tr")).to_have_count(2, timeout=TIMEOUT_MS)
    assert "AUROC" not in page.locator("#table thead").inner_text()
    expect(page.locator("#attribute")).to_be_hidden()
    opened.go(file, "#concept=12")
    expect(page.locator("h2")).to_contain_text("“red”")
    assert "Purity" not in page.locator("#detail").inner_text()
    opened.go(file, "#swaps")
    expect(page.locator("#detail")).to_contain_text("exchanged nothing", timeout=TIMEOUT_MS)
    opened.quiet(file.as_uri())
