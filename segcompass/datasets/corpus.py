"""A stream of images with text from a corpus on disk; what cannot be used is left out and counted by its reason.

Read in the order of the files' names, one item at a time: memory does not grow with the corpus (of Parquet, a row group may be held). Keys
that were given stand in a temporary database on disk, so that a repeated one is found wherever it stands.
"""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segcompass.datasets.corpus_captions import captioned_files
from segcompass.datasets.corpus_entries import FAULTY, IMAGE_MISSING, NOT_EMBEDDED, REASONS, TEXT_MISSING, UNREADABLE, Entry
from segcompass.datasets.corpus_shards import shard_entries
from segcompass.datasets.files import inside
from segcompass.datasets.images import decoded_image, read_image
from segcompass.datasets.samples import checked_text
from segcompass.errors import InputError
from segcompass.study.corpus import CorpusSettings

REPEATED = "key repeated"


class Item(NamedTuple):
    """An image and the text that goes with it."""

    key: str
    document: str
    """What it was part of; the images of a document are held out together."""
    image: np.ndarray
    """uint8 [height, width, 3]."""
    text: str


class Corpus:
    """A corpus as a stream of items; `skipped` counts what has been left out so far, by reason."""

    def __init__(self, settings: CorpusSettings) -> None:
        self.settings, self.folder = settings, Path(settings.path)
        self.skipped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Item]:
        """All usable items, from the beginning.

        Raises:
            InputError: the folder holds no corpus, or one of its shards cannot be read to its end.
        """
        if not self.folder.is_dir():
            raise InputError(self.folder, "", "is no folder, but activations.corpus.path names it; put the corpus there or name another")
        self.skipped.clear()
        entries = shard_entries(self.folder) if self.settings.source == "interleaved" else captioned_files(self.folder)
        kept = 0
        with closing(_Keys()) as keys:
            for entry in entries:
                found = self._item(entry) if keys.add(entry.key) else REPEATED
                if isinstance(found, str):
                    self.skipped[found] += 1
                else:
                    kept += 1
                    yield found
        if not kept:
            raise InputError(self.folder, "", f"holds no usable image with text ({self.said()}); name another corpus")

    def said(self) -> str:
        """What was left out, in words."""
        return ", ".join(f"{reason}: {count}" for reason, count in sorted(self.skipped.items())) or "nothing in it"

    def _item(self, entry: Entry) -> Item | str:
        """The item of an entry, or why there is none."""
        if entry.text is FAULTY or entry.image is FAULTY:
            return REASONS[FAULTY]
        if entry.image is None:
            return IMAGE_MISSING
        if not isinstance(entry.image, str | bytes) or not isinstance(entry.text, str | None):
            return REASONS[FAULTY]
        try:
            text = self._cut(checked_text(entry.text, None, "text"))
        except InputError:
            return TEXT_MISSING
        try:
            if isinstance(entry.image, bytes):
                return Item(entry.key, entry.document, decoded_image(entry.image, Path(entry.key)), text)
            if "://" in entry.image:
                return NOT_EMBEDDED
            path = inside(self.folder, "", entry.image, self.folder, entry.key)
            return Item(entry.key, entry.document, read_image(path), text) if path.is_file() else IMAGE_MISSING
        except InputError:
            return UNREADABLE

    def _cut(self, text: str) -> str:
        """The words that fit; of a single longer word what fits of it."""
        text = " ".join(text.split())
        if len(text) <= self.settings.characters:
            return text
        head = text[: self.settings.characters + 1].rpartition(" ")[0]
        return head or text[: self.settings.characters]


class _Keys:
    """The keys that were given, in a temporary database that disappears with it."""

    def __init__(self) -> None:
        self._base = sqlite3.connect("")
        self._base.execute("create table keys (digest blob primary key) without rowid")

    def add(self, key: str) -> bool:
        """Whether the key is new."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        return self._base.execute("insert or ignore into keys values (?)", (digest,)).rowcount == 1

    def close(self) -> None:
        """Deletes the database."""
        self._base.close()
