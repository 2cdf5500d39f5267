"""What a corpus says of one image before any of it is believed, and why an image is left out."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

FAULTY: Final = object()
"""In the place of a value of another kind than it must be."""
WRONG_TYPE = "wrong type"
IMAGE_MISSING = "image missing"
NOT_EMBEDDED = "image is an address"
UNREADABLE = "image unreadable"
TEXT_MISSING = "text missing"
REASONS = {FAULTY: WRONG_TYPE}


class Entry(NamedTuple):
    """An image with its text, unchecked."""

    key: str
    document: str
    image: Any
    """Bytes of a file, a path below the corpus, an address, or None."""
    text: Any


def interleaved(document: str, images: Any, texts: Any) -> Iterator[Entry]:
    """The entries of a document in OBELICS's form: two lists of one length, at each place an image or a text, null in the other list.
    Null in both is an image that was lost.

    An image goes with the next text before another image comes, else with the last one before it. A document of another form is one
    faulty entry.
    """
    if not isinstance(images, list) or not isinstance(texts, list) or len(images) != len(texts):
        yield Entry(document, document, FAULTY, FAULTY)
        return
    for place, image in enumerate(images):
        if image is None and texts[place] is not None:
            continue
        after = next((end for end in range(place + 1, len(images)) if images[end] is not None), len(images))
        behind, before = texts[place:after], reversed(texts[:place])
        text = next((one for one in [*behind, *before] if one is not None), None)
        yield Entry(f"{document}#{place}", document, image, text)
