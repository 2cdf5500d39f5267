"""Imports go in one direction: no module of the package needs, directly or through others, a module that needs it."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "segcompass"


def imports(path: Path, modules: set[str]) -> set[str]:
    """Modules of the package that a module imports anywhere, within functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & modules


def test_no_imports_run_in_a_circle() -> None:
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    graph = {name: imports(path, set(names)) for name, path in names.items() if path.name != "__init__.py"}
    assert sum(map(len, graph.values())) > 300
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


HEAVY = ("scipy.stats", "matplotlib.figure", "matplotlib.pyplot", "scipy.ndimage")


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("segcompass.commands.explain", HEAVY),
        ("segcompass.commands.edit", HEAVY),
        ("segcompass.stages.train_sae", ("transformers", *HEAVY)),
    ],
)
def test_nothing_waits_for_libraries_that_it_may_not_need(module: str, without: tuple[str, ...]) -> None:
    """A third of the wait for an explanation was imports that nothing of it used."""
    code = f"import sys, {module}\nprint(*[name for name in {without!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert not done.stdout.split()
