"""Shards of images with text: Parquet (OBELICS's columns, or pictures with captions) and tar (WebDataset), read from beginning to end.

| | document with several images | picture with a caption |
|---|---|---|
| `.parquet` | columns `images` and `texts`, lists of one length | columns `image` and `text` (or `caption`) |
| `.tar` | `<key>.json` with `images`, names of members `<key>.<name>`, and `texts` | `<key>.jpg`, `<key>.txt` or `text` in `<key>.json` |

An image in Parquet is a file's bytes, a struct of `bytes` and `path`, or a path below the corpus; OBELICS itself has addresses, which are
counted and not fetched. A column `key`, `__key__` or `id` names a document, else shard and row do.
"""

import json
import tarfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from segcompass.datasets.corpus_captions import PICTURES
from segcompass.datasets.corpus_entries import FAULTY, Entry, interleaved
from segcompass.errors import InputError

ENDINGS = (".parquet", ".tar", ".tar.gz", ".tgz")
ROWS = 8
"""Rows of a Parquet shard that are held at a time."""
BUFFER = 1 << 20
"""Bytes of a Parquet column that are read at a time."""
REMEDY = "get a whole copy of the shard, or take it out of the folder"
TEXTS = ("text", "caption")


def shard_entries(folder: Path) -> Iterator[Entry]:
    """All entries of the shards directly in a folder, in the order of their names.

    Raises:
        InputError: there is none, or one is damaged or holds other columns.
    """
    shards = sorted(path for path in folder.iterdir() if path.name.endswith(ENDINGS))
    if not shards:
        raise InputError(folder, "", f"holds no shard ({', '.join(ENDINGS)}); name the folder that they lie in")
    for shard in shards:
        yield from _parquet(shard) if shard.suffix == ".parquet" else _tar(shard)


def _parquet(shard: Path) -> Iterator[Entry]:
    try:
        with pq.ParquetFile(shard, buffer_size=BUFFER, pre_buffer=False) as file:
            columns = set(file.schema_arrow.names)
            several = {"images", "texts"} <= columns
            text = next((name for name in TEXTS if name in columns), None)
            if not several and ("image" not in columns or text is None):
                raise InputError(shard, "columns", "are neither `images` and `texts` nor `image` and `text`; rename them")
            key = next((name for name in ("key", "__key__", "id") if name in columns), None)
            read = [*(("images", "texts") if several else ("image", str(text))), *([key] if key else [])]
            number = 0
            for rows in file.iter_batches(ROWS, columns=read, use_threads=False):
                for row in rows.to_pylist():
                    named = f"{shard.name}:{number}" if key is None or row[key] is None else str(row[key])
                    number += 1
                    if several:
                        images = row["images"]
                        yield from interleaved(
                            named, [_stored(one) for one in images] if isinstance(images, list) else images, row["texts"]
                        )
                    else:
                        yield Entry(named, named, _stored(row["image"]), row[str(text)])
    except (pa.ArrowException, OSError) as error:
        raise InputError(shard, "", f"is no readable Parquet file ({_line(error)}); {REMEDY}") from error


def _stored(image: Any) -> Any:
    """A file's bytes, or where it lies."""
    if isinstance(image, dict):
        return image.get("bytes") if image.get("bytes") is not None else image.get("path")
    return image


def _tar(shard: Path) -> Iterator[Entry]:
    """Members of one key stand together; the key is the name up to the first point behind the folder."""
    held: dict[str, bytes] = {}
    current: str | None = None
    try:
        with tarfile.open(shard, "r|*") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined] # what was read is not asked for again
                if not member.isfile():
                    continue
                path = PurePosixPath(member.name)
                stem, _, ending = path.name.partition(".")
                key = str(path.with_name(stem)) if stem else member.name
                if current is not None and (key != current or ending in held):
                    yield from _sample(current, held)
                    held = {}
                content = archive.extractfile(member)
                current, held[ending] = key, content.read() if content else b""
            if current is not None:
                yield from _sample(current, held)
    except (tarfile.TarError, OSError, EOFError, zlib.error, LZMAError) as error:
        raise InputError(shard, "", f"is no readable tar file ({_line(error)}); {REMEDY}") from error


def _sample(key: str, members: dict[str, bytes]) -> Iterator[Entry]:
    described: Any = {}
    if "json" in members:
        try:
            described = json.loads(members["json"])
        except (ValueError, RecursionError):
            described = None
    if not isinstance(described, dict):
        yield Entry(key, key, FAULTY, FAULTY)
    elif "images" in described or "texts" in described:
        images = described.get("images")
        if isinstance(images, list):
            images = [members.get(one, one) if isinstance(one, str) else one for one in images]
        yield from interleaved(key, images, described.get("texts"))
    else:
        picture = next((content for ending, content in members.items() if f".{ending.lower()}" in PICTURES), None)
        text: Any = next((described[name] for name in TEXTS if name in described), None)
        if "txt" in members:
            try:
                text = members["txt"].decode("utf-8")
            except UnicodeDecodeError:
                text = FAULTY
        yield Entry(key, key, picture, text)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
