"""Files that annotations are, and that they name: JSON with bounded nesting, and paths below the data root."""

import json
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import category

from segcompass.errors import InputError


def read_json(path: Path, encodings: tuple[str, ...] = ("utf-8",)) -> Any:
    """The content of a JSON file, in the first encoding that fits.

    Raises:
        InputError: missing, not JSON, nested too deeply, or in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error.strerror}); see docs/data.md for the layout") from error
    text = None
    for encoding in encodings:
        try:
            text = data.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    if text is None:
        raise InputError(path, "", f"is not text in {' or '.join(encodings)}; download it again")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(path, "", f"is not valid JSON ({type(error).__name__}: {error}); download it again") from error


def inside(root: Path, folder: str, name: Any, source: Path, field: str) -> Path:
    """The file `name` in `folder` below `root`, as annotations in `source` give it.

    Annotations are strangers' text, so a name may only lead downwards. Links are the owner's: where he laid one (DVC's cache, another
    disk), it is followed, wherever it leads.

    Raises:
        InputError: not text, with control characters or halves of surrogate pairs, absolute, or with `..`.
    """
    if not isinstance(name, str) or not name or "\\" in name or any(category(letter) in ("Cc", "Cs") for letter in name):
        raise InputError(source, field, "is not a file name; download the annotations again")
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise InputError(source, field, f"`{name[:80]}` leads out of the data root; such annotations are refused")
    return root / folder / pure
