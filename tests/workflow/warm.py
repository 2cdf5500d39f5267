"""Stages in forks of one process that has the libraries loaded: importing them takes most of the time of a stage that has little to do.

A folder of programs stands before the interpreter's own on PATH. Its `python` hands `-m segcompass.stages.…` to a server, which forks; all
else it runs as the interpreter would. Every fork imports the project's own code anew, from the folder in which the stage was started.
Whoever kills that `python` kills the stage.
"""

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SERVER = Path(__file__).with_name("warm_server.py")
CLIENT = Path(__file__).with_name("warm_client.py")
ENVIRONMENT = Path(sys.executable).parent.parent


@cache
def programs() -> Path:
    """Folder of the programs; the server starts at the first call and ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="warm"))
    bin_ = folder / "bin"
    bin_.mkdir()
    # An environment of its own, so that Snakemake, which puts its interpreter's folder first on PATH, puts this one there.
    shutil.copy(ENVIRONMENT / "pyvenv.cfg", folder)
    (folder / "lib").symlink_to(ENVIRONMENT / "lib")
    cold = bin_ / "cold_python"
    cold.symlink_to(sys.executable)
    for name in ("snakemake", "dvc"):
        program = (ENVIRONMENT / "bin" / name).read_text(encoding="utf-8")
        _write(bin_ / name, f"#!{cold}\n{program.partition(chr(10))[2]}")
    socket = folder / "socket"
    client = CLIENT.read_text(encoding="utf-8")
    _write(bin_ / "python", f"#!{cold} -IS\n{client}\nstart({str(socket)!r}, {str(cold)!r})\n")
    server = subprocess.Popen([sys.executable, str(SERVER), str(socket)], stdin=subprocess.DEVNULL)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.kill)
    return bin_


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
