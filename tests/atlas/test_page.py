"""What stands in the page: all of the content, as JSON that ends nowhere early, and a policy that names every script."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segcompass.atlas.page import atlas_page, embedded_json, rounded
from segcompass.atlas.pictures import heat_map_uri, mask_uri, picture_uri
from tests.atlas.content import INSTRUCTION, content


class Elements(HTMLParser):
    """Elements with their attributes, and the text of every script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def page() -> Elements:
    return Elements(atlas_page(content()))


def test_the_data_come_back_whole(page: Elements) -> None:
    (place,) = [number for number, (_, given) in enumerate(s for s in page.found if s[0] == "script") if given.get("id") == "data"]
    data = json.loads(page.scripts[place])
    assert data["samples"][0]["text"] == INSTRUCTION
    assert data["concepts"][0]["mono"] is None and data["concepts"][1]["effect"]["fall"] == [0.4, 0.3, 0.5]


def test_markup_in_the_data_adds_no_element(page: Elements) -> None:
    plain = content()
    plain["samples"][0]["text"] = plain["samples"][0]["sample"] = "red"
    assert [tag for tag, _ in page.found] == [tag for tag, _ in Elements(atlas_page(plain)).found]
    assert not [given for _, given in page.found if any(name.startswith("on") for name in given)]


def test_the_policy_forbids_requests_and_names_the_digest_of_every_script(page: Elements) -> None:
    (policy,) = [given["content"] for tag, given in page.found if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none';") and "unsafe-eval" not in policy
    assert not re.search(r"script-src[^;]*(unsafe-inline|data:|blob:)", policy) and "connect-src" not in policy
    given = [one for tag, one in page.found if tag == "script"]
    code = [text for text, own in zip(page.scripts, given, strict=True) if "type" not in own]
    assert len(code) == 5
    for script in code:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy


def test_nothing_is_loaded_from_anywhere(page: Elements) -> None:
    assert not [given for tag, given in page.found if tag in ("link", "iframe") or "src" in given]


NOT_FINITE = [(float("nan"), None), (float("inf"), None)]


@pytest.mark.parametrize(("value", "expected"), [(1.23456789, 1.2346), (3.0, 3), ((1, "a"), [1, "a"]), *NOT_FINITE])
def test_numbers_are_short_and_finite(value: Any, expected: Any) -> None:
    assert rounded({5: value}) == {"5": expected}


def test_json_holds_no_character_that_ends_it() -> None:
    text = "</script><!-- & \u2028"
    written = embedded_json([text])
    assert not set("<>&\u2028") & set(written) and json.loads(written) == [text]


def opened(uri: str) -> Image.Image:
    head, _, held = uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(BytesIO(base64.b64decode(held)))


def test_pictures_shrink_and_never_grow() -> None:
    picture = np.zeros((30, 60, 3), np.uint8)
    assert opened(picture_uri(picture, 20)).size == (20, 10)
    assert opened(picture_uri(picture, 99)).size == (60, 30)


def test_a_mask_has_its_colour_where_it_is_and_is_clear_elsewhere() -> None:
    mask = np.array([[True, False]])
    pixels = np.array(opened(mask_uri(mask, (255, 140, 0, 150))).convert("RGBA"))
    assert pixels[0, 0].tolist() == [255, 140, 0, 150] and pixels[0, 1, 3] == 0


def test_a_heat_map_is_brighter_where_it_is_surer_and_logits_may_be_huge() -> None:
    grey = np.array(opened(heat_map_uri(np.array([[-1e9, 0.0, 1e9]]))).convert("L"))[0].tolist()
    assert grey[0] < grey[1] < grey[2]
