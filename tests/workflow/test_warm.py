"""The programs of `warm.py` do what the interpreter would."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.workflow.project import command, search_path

STAGE = """
import json, os, sys, time
from pathlib import Path
if __name__ == "__main__":
    words = sys.argv[1:]
    if words[0] == "wait":
        Path("pid").write_text(str(os.getpid()))
        time.sleep(600)
    print(json.dumps([Path.cwd().name, words, os.environ.get("GIVEN"), "torch" in sys.modules]))
    print("said", file=sys.stderr)
    sys.exit(int(words[0]))
"""


def project(root: Path) -> Path:
    folder = root / "own"
    (folder / "segcompass" / "stages").mkdir(parents=True)
    for name, text in {"__init__": "", "stages/__init__": "", "stages/echo": STAGE}.items():
        (folder / "segcompass" / f"{name}.py").write_text(text)
    return folder


def test_a_stage_runs_with_the_callers_folder_words_environment_and_code(tmp_path: Path) -> None:
    root = project(tmp_path)
    done = command(root, "env", "GIVEN=here", "python", "-m", "segcompass.stages.echo", "3", "a b", check=False)
    assert done.returncode == 3 and done.stderr == "said\n"
    assert json.loads(done.stdout) == ["own", ["3", "a b"], "here", True]


def test_all_else_is_the_interpreters(tmp_path: Path) -> None:
    done = command(tmp_path, "python", "-c", "import sys; print(sys.version, 'torch' in sys.modules)")
    assert done.stdout.endswith(" False\n")


def test_whoever_kills_it_kills_the_stage(tmp_path: Path) -> None:
    root = project(tmp_path)
    words = ["python", "-m", "segcompass.stages.echo", "wait"]
    process = subprocess.Popen(words, cwd=root, env=os.environ | {"PATH": search_path()})
    while not (root / "pid").is_file() or not (root / "pid").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    stage = int((root / "pid").read_text())
    process.kill()
    assert process.wait() == -signal.SIGKILL
    for _ in range(1200):
        if not Path(f"/proc/{stage}").exists():
            return
        time.sleep(0.05)
    raise AssertionError("the stage lives on")
