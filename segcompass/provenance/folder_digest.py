"""A digest of a folder of model files that a study names, so that exchanged files are seen as exchanged.

Files of up to `WHOLE` bytes are read whole. Of larger ones, size and both ends are read: a study is parsed at every start of Snakemake, and
checkpoints of several gigabytes cannot be read each time.
"""

import hashlib
from pathlib import Path

from segcompass.errors import InputError

WHOLE = 64 << 20
END = 1 << 20


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and contents of the files directly in `folder`.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(folder, "", "does not exist; name a folder that `from_pretrained` loads, or build it (`source: build`)")
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        size = path.stat().st_size
        total.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            total.update(file.read(END if size > WHOLE else WHOLE))
            if size > WHOLE:
                file.seek(-END, 2)
                total.update(file.read())
    return total.hexdigest()
