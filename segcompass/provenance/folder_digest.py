"""A digest of a folder of files that a study names and no stage makes, so that exchanged files are seen as exchanged.

Files of up to `WHOLE` bytes are read whole. Of larger ones, size and both ends are read: a study is parsed at every start of Snakemake, and
checkpoints of several gigabytes cannot be read each time.
"""

import hashlib
import os
from pathlib import Path

from segcompass.errors import InputError

WHOLE = 64 << 20
END = 1 << 20


def annotation_digest(folder: Path) -> str:
    """As `folder_digest`, of a benchmark's annotation files: the images beside them are many, and are named by them."""
    return folder_digest(folder, (".json", ".p"))


def folder_digest(folder: Path, endings: tuple[str, ...] = ("",)) -> str:
    """SHA-256 over names and contents of the files directly in `folder` whose names end so.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(folder, "", "does not exist, but the study names it; put the files there (docs/data.md) or name another folder")
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if not path.is_file() or not path.name.endswith(endings):
            continue
        size = path.stat().st_size
        total.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            total.update(file.read(END if size > WHOLE else WHOLE))
            if size > WHOLE:
                file.seek(-END, 2)
                total.update(file.read())
    return total.hexdigest()


def listing_digest(folder: Path) -> str:
    """SHA-256 over names and sizes of all files below `folder`: a corpus has too many to read a part of each at every start.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(folder, "", "does not exist, but the study names it; put the files there (docs/data.md) or name another folder")
    total = hashlib.sha256()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            total.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
    return total.hexdigest()
