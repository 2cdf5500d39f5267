"""A folder of pictures with captions: `metadata.jsonl` as the library `datasets` writes it, or a `.txt` of the same name beside each."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segcompass.datasets.corpus_entries import FAULTY, Entry
from segcompass.errors import InputError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
LIST = "metadata.jsonl"


def captioned_files(folder: Path) -> Iterator[Entry]:
    """Every picture with its caption; images are named by their path below `folder`.

    Raises:
        InputError: there is no picture.
    """
    found = False
    for entry in _listed(folder) if (folder / LIST).is_file() else _beside(folder):
        found = True
        yield entry
    if not found:
        raise InputError(folder, "", f"holds no pictures ({', '.join(PICTURES)}); put them there, each with a .txt beside it, or a {LIST}")


def _listed(folder: Path) -> Iterator[Entry]:
    with (folder / LIST).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                name, text = row["file_name"], row.get("text", row.get("caption"))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                yield Entry(f"{LIST}:{number}", LIST, FAULTY, FAULTY)
                continue
            named = isinstance(name, str)
            yield Entry(name if named else f"{LIST}:{number}", str(name), name if named else FAULTY, text)


def _beside(folder: Path) -> Iterator[Entry]:
    """Folders are listed one at a time, in the order of their names."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not name.lower().endswith(PICTURES):
                continue
            path = Path(place, name)
            caption = path.with_suffix(".txt")
            own = path.relative_to(folder).as_posix()
            text: Any
            try:
                text = caption.read_text(encoding="utf-8") if caption.is_file() else None
            except (OSError, UnicodeDecodeError):
                text = FAULTY
            yield Entry(own, own, own, text)
