"""The one error class that a user's bad input raises.

Every command and stage catches `InputError` at its outermost level, prints its single sentence to
standard error and exits with code 2. Anything else that escapes is a defect of ours and keeps its traceback.
"""

import errno
from pathlib import Path
from unicodedata import category

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the system's errors that say that a file system has no room left: no defect of ours, and the user can help it."""


class InputError(Exception):
    """A sentence that names the file, the field and the remedy.

    Args:
        where: file (or stream) that holds the fault; None when the fault is not in a file.
        field: key, line or record at fault; empty when the whole file is.
        problem: what is wrong, and what to do about it, as one sentence without a full stop.
    """

    def __init__(self, where: Path | str | None, field: str, problem: str) -> None:
        self.where, self.field, self.problem = where, field, problem
        place = ": ".join(str(part) for part in (where, field) if part not in (None, ""))
        super().__init__(shown(f"{place}: {problem}." if place else f"{problem}."))


def damaged(folder: Path, field: str, problem: str) -> InputError:
    """The error for files of a folder that cannot be used, with the remedy that helps: only a stage's artefact can be made again."""
    remedy = "take a whole copy of it, or name another folder"
    if (folder / "run.json").is_file():
        remedy = f"delete {folder} and start the pipeline again, which makes it anew"
    return InputError(folder, field, f"{problem}; {remedy}")


def shown(text: str) -> str:
    """A text of strangers as a terminal may show it: control characters, ends of lines and halves of surrogate pairs written out."""
    return "".join(repr(letter)[1:-1] if category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter for letter in text)
