"""`segcompass demo`: a page in the browser that asks a trained run, turns its concepts and exchanges them, served from this machine."""

import argparse
from importlib.util import find_spec

from segcompass.commands.flags import add_run, add_whole_number
from segcompass.errors import InputError
from segcompass.joint.stored_run import load_predictor, stored_run

HOST, PORT = "127.0.0.1", 7860
NEEDED = ("gradio", "uvicorn", "fastapi")
"""Packages of the extra `demo` that are imported."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_run(parser)
    parser.add_argument("--host", default=HOST, help="address to listen on; with another one than %(default)s others reach the page too")
    add_whole_number(parser, "--port", 1, 65535, f"port to listen on, {PORT} if left out", default=PORT)


def run(arguments: argparse.Namespace) -> int:
    """Serves the page until it is interrupted."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        problem = f"needs {', '.join(missing)}, which the extra `demo` brings; pip install --no-deps -r requirements-demo.lock"
        raise InputError(None, "demo", problem)
    from segcompass.demo.examples import drawn_examples, world_of  # so that other commands need not wait for any of it
    from segcompass.demo.questions import Run
    from segcompass.demo.serve import address_of, listener, serve

    with listener(arguments.host, arguments.port) as listening:
        stored = stored_run(arguments.model)
        asked = Run(stored, load_predictor(stored, arguments.threshold, arguments.device, arguments.dtype))
        examples = drawn_examples(world_of(stored))
        address, private = address_of(listening)
        if not private:
            print("everybody who reaches this machine can use the page, which has no password")
        print(f"{stored.name}: {address} until Ctrl+C", flush=True)
        serve(asked, examples, listening)
    return 0
