"""A stage's digest moves with the code that the stage runs, and with nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from segcompass.provenance import code_digest
from segcompass.provenance.code_digest import import_closure, stage_digest


@pytest.fixture
def package(tmp_path: Path) -> Path:
    stages = tmp_path / "segcompass" / "stages"
    stages.mkdir(parents=True)
    for folder in (stages, stages.parent):
        (folder / "__init__.py").write_text("")
    (stages / "a.py").write_text("from segcompass.x import f\n\ndef main():\n    from segcompass import lazy\n    return f()\n")
    (stages / "b.py").write_text("import json\n")
    (stages.parent / "x.py").write_text('"""Doc."""\nfrom segcompass.y import g\n\ndef f():\n    """Doc."""\n    return g() + 1  # one\n')
    (stages.parent / "y.py").write_text("def g():\n    return 2\n")
    (stages.parent / "lazy.py").write_text("VALUE = 1\n")
    return tmp_path


def test_closure_follows_imports_of_imports_and_those_within_functions(package: Path) -> None:
    names = {"segcompass", "segcompass.stages", "segcompass.stages.a", "segcompass.x", "segcompass.y", "segcompass.lazy"}
    assert import_closure("segcompass.stages.a", package).keys() == names


@pytest.mark.parametrize(
    ("file", "old", "new", "moves_a"),
    [
        ("y.py", "return 2", "return 3", True),
        ("lazy.py", "VALUE = 1", "VALUE = 2", True),
        ("x.py", "# one", "# another comment", False),
        ("x.py", '"""Doc."""', '"""Another docstring."""', False),
        ("x.py", "g() + 1", "(g()\n        + 1)", False),
    ],
)
def test_code_moves_the_digest_and_comments_do_not(package: Path, file: str, old: str, new: str, moves_a: bool) -> None:
    before = stage_digest("a", package), stage_digest("b", package)
    path = package / "segcompass" / file
    path.write_text(path.read_text().replace(old, new))
    after = stage_digest("a", package), stage_digest("b", package)
    assert (before[0] != after[0]) is moves_a
    assert before[1] == after[1]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's cache folder, of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    begin_anew()
    yield tmp_path / "cache" / "segcompass"
    monkeypatch.undo()
    begin_anew()


def begin_anew() -> None:
    """As another process begins: with what the cache folder holds."""
    for function in (code_digest._kept_in, code_digest._known, code_digest._read):
        function.cache_clear()


def test_a_file_is_parsed_once_for_all_processes(package: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stage_digest("a", package)
    (kept,) = cache.iterdir()
    begin_anew()
    with monkeypatch.context() as patch:
        patch.setattr(code_digest, "_parsed", lambda path, _: pytest.fail(f"{path} is parsed again"))
        assert stage_digest("a", package) == first
    begin_anew()
    (package / "segcompass" / "y.py").write_text("def g():\n    return 4\n")
    assert stage_digest("a", package) != first, "other bytes, whatever the cache knows"
    assert list(cache.iterdir()) == [kept], "nothing half-written stays"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": 1}', '{"a": [1]}', "folder", "no folder"])
def test_a_cache_that_cannot_be_used_changes_nothing(package: Path, cache: Path, damage: str) -> None:
    first = stage_digest("a", package)
    (kept,) = cache.iterdir()
    kept.unlink()
    if damage == "folder":
        kept.mkdir()
    elif damage == "no folder":
        cache.rmdir()
        cache.write_text("a file")
    else:
        kept.write_text(damage)
    begin_anew()
    assert stage_digest("a", package) == first
