"""A folder that a command makes: whole under its name, or not there at all; what speaks against it is found out before the work.

Stages have `segcompass.provenance.stage`; this is for commands, which keep no record and have nothing to resume.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segcompass.errors import FULL, InputError


@contextmanager
def new_folder(out: Path, flag: str = "--out", needed: int = 0) -> Iterator[Path]:
    """A draft beside `out` to fill, which takes its name at the end of the block; whatever ends the block early removes it.

    Args:
        out: the folder to make; folders above it are made too.
        flag: what the user calls it.
        needed: bytes that will be written, about; they must be free now.

    Raises:
        InputError: `out` is there already, or it cannot be made or written where it should lie.
    """
    if os.path.lexists(out):
        raise InputError(out, flag, "exists already; name a new folder")
    draft = out.with_name(f".{out.name}.{os.getpid()}.partial")
    made = [folder for folder in out.absolute().parents if not os.path.lexists(folder)]
    try:
        try:
            draft.mkdir(parents=True)
            _reserve(draft, needed)
        except OSError as error:
            raise _unwritable(out, flag, error) from error
        try:
            yield draft
            open_to_readers(draft)
            draft.rename(out)
        except OSError as error:
            if error.errno in FULL or str(error.filename).startswith(str(draft)):
                raise _unwritable(out, flag, error) from error
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        for folder in made:  # the deepest first
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def open_to_readers(folder: Path) -> None:
    """Gives every file below `folder` the mode that this process's new files have: safetensors makes its own for the owner alone.

    Files that also have another name are left alone, because their mode is that of both.
    """
    probe = folder / ".mode"
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1 and path.stat().st_mode != mode:
            path.chmod(mode)


def _reserve(folder: Path, needed: int) -> None:
    """Takes and gives back `needed` bytes of the file system, which fails if it has not got them."""
    path = folder / ".space"
    with path.open("wb") as file:
        if needed:
            os.posix_fallocate(file.fileno(), 0, needed)
    path.unlink()


def _unwritable(out: Path, flag: str, error: OSError) -> InputError:
    return InputError(out, flag, f"cannot be written ({error.strerror}); free space there, or name another folder")
