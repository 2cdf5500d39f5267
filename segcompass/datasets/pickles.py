"""Reads the refer pickles without running anything that they name.

Only builtin containers and scalars are built; a pickle that names any other global is refused with the name.
Python 2 wrote the originals, hence `encoding="latin1"`.
"""

import io
import pickle
from pathlib import Path
from typing import Any

from segcompass.errors import InputError

LARGEST_FILE = 1 << 30
"""Bytes; the real files have tens of megabytes."""


class _PlainUnpickler(pickle.Unpickler):
    """Builds containers and scalars, refuses every global."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuses: no refer pickle needs a global."""
        raise pickle.UnpicklingError(f"names the global `{module}.{name}`")

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002 - the base class passes it
        """Refuses: no refer pickle has persistent ids."""
        raise pickle.UnpicklingError("names a persistent object")


def load_plain_pickle(path: Path) -> Any:
    """The containers and scalars of a pickle file.

    Raises:
        InputError: the file is missing, too large, damaged, or names a global.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(path, "", f"is larger than {LARGEST_FILE} bytes; it is no refer file")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error.strerror}); see docs/data.md for the layout") from error
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises errors of nearly any class; nothing of it has run
        raise InputError(path, "", f"is not a refer pickle of plain values ({error}); download it again") from error
