"""Serves the demo's page from this machine alone: no share link, no telemetry, no font or script of another host.

Gradio's own `launch` looks for free ports, can open a tunnel and asks its makers for news. So the page is mounted into an application of
our own, on a socket that is bound before a model is loaded, and every answer carries a policy by which browsers ask nobody else.
"""

import errno
import os
import signal
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from segcompass.datasets.images import MOST_PIXELS
from segcompass.demo.examples import Example
from segcompass.demo.questions import Run
from segcompass.errors import InputError

MOST_BYTES = 8 * MOST_PIXELS
"""Of an uploaded file: a picture of the greatest size that is read, with four channels of 16 bits that are not compressed."""
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
"""Gradio's page holds scripts and compiles templates; all of them come from here."""
STYLE = Path(__file__).with_name("page.css")
GRACE_S = 1
"""Seconds that open connections are waited for at the end: each open page holds one."""


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens on an address of this machine.

    Raises:
        InputError: the host is no address of this machine, or the port is in use or not to be had.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise InputError(
            None, "--host", f"is `{host[:60]}`, which names no address; take 127.0.0.1, or an address of this machine"
        ) from error
    found = socket.socket(family, kind)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(address)
        found.listen()
    except OSError as error:
        found.close()
        flag, problem = {
            errno.EADDRINUSE: ("--port", f"is {port}, which another program uses on {host}; name another port"),
            errno.EACCES: ("--port", f"is {port}, which only the system's administrator may use; name a port from 1024"),
            errno.EADDRNOTAVAIL: ("--host", f"is `{host[:60]}`, which is no address of this machine; take 127.0.0.1 or one that is"),
        }.get(error.errno or 0, ("--host", f"and --port cannot be listened on ({error.strerror}); name others"))
        raise InputError(None, flag, problem) from error
    return found


def address_of(listening: socket.socket) -> tuple[str, bool]:
    """Where a browser finds what listens on a socket, and whether only this machine can reach it."""
    host, port = listening.getsockname()[:2]
    there = ip_address(host)
    return f"http://{f'[{host}]' if there.version == 6 else host}:{port}/", there.is_loopback


def serve(run: Run, examples: Sequence[Example], listening: socket.socket) -> None:
    """Serves until the process is interrupted or told to end; uploaded files go with it."""
    import uvicorn  # of the optional extra

    with tempfile.TemporaryDirectory(prefix="segcompass-demo-") as folder:
        # At the end uvicorn logs, as errors, every connection that an open page still holds; what a call raises Gradio prints itself.
        config = uvicorn.Config(application(run, examples, Path(folder)), log_level="critical", timeout_graceful_shutdown=GRACE_S)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the folder goes then too
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run([listening])


def application(run: Run, examples: Sequence[Example], folder: Path) -> Any:
    """The ASGI application of the page; uploads and drawn pictures lie in a folder."""
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder / "files")}
    from fastapi import FastAPI  # both of the optional extra, and Gradio reads these variables
    from gradio import mount_gradio_app, themes

    from segcompass.demo.page import page

    pictures = folder / "examples"
    pictures.mkdir()
    theme = themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"))
    app = mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page(run, examples, pictures),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=MOST_BYTES,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        theme=theme,
        css_paths=STYLE,
    )
    return _Guarded(app)


class _Guarded:
    """An application whose answers carry `POLICY`."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self._app(scope, receive, guarded)
