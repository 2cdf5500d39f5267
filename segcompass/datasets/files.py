"""Files that annotations are, and that they name: JSON with bounded nesting, and paths that never leave the data root."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

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

    Raises:
        InputError: not text, absolute, with `..`, or leading out of the root through a symbolic link.
    """
    if not isinstance(name, str) or not name or "\0" in name or "\\" in name:
        raise InputError(source, field, "is not a file name; download the annotations again")
    pure = PurePosixPath(name)
    path = root / folder / pure
    if pure.is_absolute() or ".." in pure.parts or not path.resolve().is_relative_to(root.resolve()):
        raise InputError(source, field, f"`{name[:80]}` leads out of the data root; such annotations are refused")
    return path
