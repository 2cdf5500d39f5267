"""Digest of the code that a stage runs: its module and all package modules it imports, directly or not.

Docstrings, comments and layout do not count, so a comment retrains nothing; a changed line of any imported
module does. Files that are not Python count as they are, if they lie beside a module of the closure.

What was read of a file is kept by the file's bytes in the user's cache folder, since every job asks for the same few hundred modules, and
parsing them takes seconds. A cache that is missing, damaged or cannot be written costs these seconds and nothing else.
"""

import ast
import hashlib
import json
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

PACKAGE = "segcompass"
MOST_KEPT = 5000
"""Files whose reading is kept; above it the cache begins anew."""

Reading = tuple[tuple[str, ...], str]
"""What a module imports of the package, and the digest of its code."""


def stage_digest(stage: str, root: Path) -> str:
    """SHA-256 over the import closure of `segcompass.stages.<stage>` below the project folder `root`."""
    modules = import_closure(f"{PACKAGE}.stages.{stage}", root)
    folders = {path.parent for path in modules.values() if path.name != "__init__.py"}
    total = hashlib.sha256()
    for name, path in sorted(modules.items()):
        total.update(f"{name}\0{_read(path, path.stat().st_mtime_ns)[1]}\0".encode())
    _keep()
    for data in sorted(p for folder in folders for p in folder.iterdir() if p.is_file() and p.suffix not in {".py", ".pyc"}):
        total.update(f"{data.relative_to(root)}\0".encode() + hashlib.sha256(data.read_bytes()).digest())
    return total.hexdigest()


def import_closure(module: str, root: Path) -> dict[str, Path]:
    """Every module of the package that importing `module` can load, by name, imports within functions included."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file_of(name, root)
        if path is None or name in found:
            continue
        found[name] = path
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        waiting.extend(_read(path, path.stat().st_mtime_ns)[0])
    return found


def _file_of(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@cache
def _read(path: Path, modified: int) -> Reading:  # noqa: ARG001 - `modified` is part of the cache key
    """Of a file as it is; a study's start reads every module, so once each."""
    content = path.read_bytes()
    key = hashlib.sha256(content).hexdigest()
    known = _known()
    if key not in known:
        known[key] = _parsed(path, content)
        _new.append(key)
    return known[key]


def _parsed(path: Path, content: bytes) -> Reading:
    tree = ast.parse(content.decode())
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise SyntaxError(f"{path}: relative imports are not used in this package")
            names.append(node.module or "")
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # A bare string is a docstring, of a module, class, function or field.
            node.body = [part for part in body if not (isinstance(part, ast.Expr) and _is_text(part.value))]  # type: ignore[attr-defined]
    own = tuple(name for name in names if name == PACKAGE or name.startswith(PACKAGE + "."))
    return own, hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


_new: list[str] = []
"""Keys of what was read since the cache was written."""


@cache
def _kept_in() -> Path:
    """The cache of this interpreter, whose syntax trees another version writes otherwise, and of this module as it is."""
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / PACKAGE / f"code-{sys.version_info.major}.{sys.version_info.minor}-{own}.json"


@cache
def _known() -> dict[str, Reading]:
    """SHA-256 of a file's bytes -> what was read of it."""
    try:
        raw = json.loads(_kept_in().read_text(encoding="utf-8"))
        return {str(key): (tuple(map(str, names)), str(digest)) for key, (names, digest) in raw.items()}
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError):
        return {}


def _keep() -> None:
    """Writes what was read anew, whole or not at all."""
    if not _new:
        return
    known = _known()
    kept = known if len(known) <= MOST_KEPT else {key: known[key] for key in _new}
    _new.clear()
    with suppress(OSError, RuntimeError):
        target = _kept_in()
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_suffix(f".{os.getpid()}.tmp")
        try:
            draft.write_text(json.dumps(kept), encoding="utf-8")
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
