"""The `python` of `warm.py`, which writes a call of `start` below this text."""

import json
import os
import signal
import socket
import sys
import time

ATTEMPTS, PAUSE = 3000, 0.02
"""How often a server is tried that has only just started, and seconds between two tries."""


def start(address: str, cold: str) -> None:
    """Runs what the command line says, a stage through the server at `address`, all else by the interpreter `cold`."""
    words = sys.argv[1:]
    if len(words) < 2 or words[0] != "-m" or not words[1].startswith("segcompass.stages."):
        os.execv(cold, [cold, *words])
    server = socket.socket(socket.AF_UNIX)
    for _ in range(ATTEMPTS):
        if server.connect_ex(address) == 0:
            break
        time.sleep(PAUSE)
    request = json.dumps({"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()  # noqa: PTH109
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    answer = server.recv(4)
    code = int.from_bytes(answer, "big", signed=True) if answer else 1
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
