"""A digest of a folder of files that a study names and no stage makes, so that exchanged files are seen as exchanged.

Files of up to `WHOLE` bytes are read whole. Of larger ones, size and both ends are read: a study is parsed at every start of Snakemake, and
checkpoints of several gigabytes cannot be read each time.
"""

import hashlib
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
