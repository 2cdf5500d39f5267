"""The server of `warm.py`: `python warm_server.py SOCKET`. It imports libraries, and nothing of the project."""

import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path

LIBRARIES = (
    "accelerate",
    "matplotlib.pyplot",
    "pycocotools.mask",
    "pydantic",
    "scipy.optimize",
    "torch",
    "transformers.models.llava.modeling_llava",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
    "transformers.models.sam.modeling_sam",
)
"""Not pandas: its arrow starts a thread, which a fork would lose."""


def serve(path: str) -> None:
    """Answers every request in a fork of its own."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(64)
    for name in LIBRARIES:
        import_module(name)
    assert threading.active_count() == len(list(Path("/proc/self/task").iterdir())) == 1, "threads would be lost in a fork"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            answer(connection)
        connection.close()


def answer(connection: socket.socket) -> None:
    """Runs a stage in a fork, says how it ended, and kills it where the one who asked is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(connection, 8, 3)
    text = b""
    while len(text) < int.from_bytes(head, "big"):
        text += connection.recv(1 << 20)
    child = os.fork()
    if child == 0:
        connection.close()
        run(json.loads(text), streams)
    ready, _, _ = select.select([os.pidfd_open(child), connection], [], [])
    if connection in ready:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if connection not in ready:
        connection.sendall(code.to_bytes(4, "big", signed=True))
    os._exit(0)


def run(request: dict, streams: list[int]) -> None:
    """The stage, in the place of `python -m MODULE …` in the folder and the environment of the one who asked."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        option, module, *rest = request["words"]
        sys.path[0] = request["folder"]
        sys.argv = [option, *rest]  # as the interpreter has it until the module is found
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  # whatever it is, the fork ends here
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
