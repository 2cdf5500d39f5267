"""A run that the demo shows, untrained but with masks, and what a browser would send."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from segcompass.demo.calls import Calls
from segcompass.demo.questions import Run
from segcompass.joint.stored_run import load_predictor, stored_run
from tests.explain.conftest import asked as asked
from tests.explain.conftest import run as run
from tests.explain.conftest import stored as stored

SCRIPT = "</script></textarea><script>window.broken=1</script><img src=x onerror=window.broken=2>"
HOSTILE = f"{SCRIPT} \"'`&lt;&amp; {{{{ 7 * 7 }}}} ${{7 * 7}} [a](http://b.c) <bdo dir=rtl> left \u202eright\u202c \u2067\u05d0\u05d1"


@pytest.fixture(scope="session")
def sharp(run: Path) -> Path:
    """The run's folder. Heat maps of an untrained interface are flat, and SAM makes no mask of them; these rise and fall by many logits."""
    folder = run.parents[1] / "sharp" / "seed0"
    shutil.copytree(run, folder)
    weights = load_file(folder / "model.safetensors")
    weights["interface.mapper.heat.2.weight"] *= 300
    weights["interface.mapper.heat.2.bias"] *= 0
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def shown(sharp: Path) -> Run:
    stored = stored_run(sharp)
    return Run(stored, load_predictor(stored, None))


@pytest.fixture(scope="session")
def calls(shown: Run) -> Calls:
    return Calls(shown)


@pytest.fixture(scope="session")
def sent(asked: tuple[Path, str]) -> tuple[dict[str, Any], str]:
    """The picture as an upload, and the instruction."""
    return upload(asked[0]), asked[1]


def upload(path: Path) -> dict[str, Any]:
    """A file as Gradio hands it over: under a name of its own making, with the user's beside it."""
    return {"path": str(path), "orig_name": f"my {path.name}", "url": "/file", "size": None, "mime_type": None, "meta": {}}
