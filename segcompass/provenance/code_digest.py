"""Digest of the code that a stage runs: its module and all package modules it imports, directly or not.

Docstrings, comments and layout do not count, so a comment retrains nothing; a changed line of any imported
module does. Files that are not Python count as they are, if they lie beside a module of the closure.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = "segcompass"


def stage_digest(stage: str, root: Path) -> str:
    """SHA-256 over the import closure of `segcompass.stages.<stage>` below the project folder `root`."""
    modules = import_closure(f"{PACKAGE}.stages.{stage}", root)
    folders = {path.parent for path in modules.values() if path.name != "__init__.py"}
    total = hashlib.sha256()
    for name, path in sorted(modules.items()):
        total.update(f"{name}\0{_read(path, path.stat().st_mtime_ns)[1]}\0".encode())
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
def _read(path: Path, modified: int) -> tuple[tuple[str, ...], str]:  # noqa: ARG001 - `modified` is part of the cache key
    """What a module imports of the package, and the digest of its code; a study's start reads every module, so once each."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
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
