"""Files of one JSON object a line, read as a stream; `-` is standard input."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from segcompass.errors import InputError

LONGEST_LINE = 64 << 20
"""Bytes; a longer line is refused before it is parsed."""
STANDARD_INPUT = Path("-")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What editors of Windows put before UTF-8."""
WORDS = {int: "a whole number", bool: "true or false", str: "a text"}


@dataclass(frozen=True)
class JsonLines:
    """A file of JSON lines and what messages call it."""

    name: str
    path: Path

    @classmethod
    def at(cls, path: Path) -> "JsonLines":
        """The file, or standard input for `-`."""
        return cls("standard input" if path == STANDARD_INPUT else str(path), path)

    def open(self) -> BinaryIO:
        """The file, opened.

        Raises:
            InputError: it cannot be read.
        """
        try:
            return self.path.open("rb")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(self.name, "", f"cannot be read ({reason}); name a file of JSON lines, or - for standard input") from error

    def seekable(self, folder: Path) -> "JsonLines":
        """The same lines in a file that can be read again: a copy in `folder` of what comes through a pipe."""
        copy = folder / "lines.jsonl"
        with self._stream() as stream:
            if self.path != STANDARD_INPUT and stream.seekable():
                return self
            with copy.open("wb") as file:
                shutil.copyfileobj(stream, file)
        return replace(self, path=copy)

    def objects(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """(line number from 1, byte offset, object) of every line that is not blank.

        Raises:
            InputError: the file cannot be read, or a line is too long or no object.
        """
        with self._stream() as file:
            place = number = 0
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise InputError(self.name, f"line {number}", f"is longer than {LONGEST_LINE} bytes; write one object a line")
                if line.strip():
                    yield number, place, self.object(number, line)
                place += len(line)

    def object(self, number: int, line: bytes) -> dict[str, Any]:
        """The object on a line.

        Raises:
            InputError: it is not JSON, or no object.
        """
        try:
            raw = orjson.loads(line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line)
        except ValueError as error:
            raise InputError(self.name, f"line {number}", f"is not JSON ({str(error)[:100]}); write one object a line") from error
        if not isinstance(raw, dict):
            raise InputError(self.name, f"line {number}", "is not a JSON object; write one object a line")
        return raw

    def field(self, number: int, raw: dict[str, Any], name: str, kind: type) -> Any:
        """A field of the object on a line, of this very type.

        Raises:
            InputError: it is missing or of another type.
        """
        value = raw.get(name)
        if type(value) is not kind:
            fault = "missing" if name not in raw else f"not {WORDS[kind]}"
            raise InputError(self.name, f"line {number}: {name}", f"is {fault}; correct the line")
        return value

    def _stream(self) -> Any:
        return nullcontext(sys.stdin.buffer) if self.path == STANDARD_INPUT else self.open()
