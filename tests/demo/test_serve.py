"""The command starts on one address, says so, and ends cleanly; faults are one sentence; without the extra it says what to install."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from segcompass.cli import main
from segcompass.commands import demo
from segcompass.demo.serve import POLICY, address_of, listener
from segcompass.errors import InputError


def test_a_port_in_use_is_one_sentence(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listener("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "--model", str(run), "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert f"--port: is {port}, which another program uses" in error and error.count("\n") == 1


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "x" * 300, "é\udc80", "::zz"])
def test_hosts_that_are_none_are_one_sentence(host: str) -> None:
    with pytest.raises(InputError, match="--host: is `") as error:
        listener(host, 7860)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x", "1e3", "9" * 30])
def test_ports_have_a_range(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--port", port])
    assert ended.value.code == 2 and "1 to 65535" in capsys.readouterr().err


def test_addresses_say_whether_others_reach_them() -> None:
    with listener("127.0.0.1", 0) as alone, listener("0.0.0.0", 0) as open_:
        assert address_of(alone) == (f"http://127.0.0.1:{alone.getsockname()[1]}/", True)
        assert address_of(open_)[1] is False
    if socket.has_ipv6:
        with listener("::1", 0) as six:
            assert address_of(six) == (f"http://[::1]:{six.getsockname()[1]}/", True)


def test_without_the_extra_one_sentence_names_it(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "gradio" else object())
    assert main(["demo", "--model", str(run)]) == 2
    error = capsys.readouterr().err
    assert "needs gradio" in error and "extra" in error and error.count("\n") == 1


def test_a_run_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listener("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    assert main(["demo", "--model", str(tmp_path / "none"), "--port", str(port)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_serves_until_it_is_ended_and_leaves_nothing(run: Path, tmp_path: Path) -> None:
    """Whatever Gradio's own variables ask for: a tunnel, telemetry, another port, everybody's files."""
    with listener("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    asking = {"GRADIO_SHARE": "True", "GRADIO_ANALYTICS_ENABLED": "True", "GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_ALLOWED_PATHS": "/"}
    environment = os.environ | asking | {"TMPDIR": str(tmp_path), "HTTP_PROXY": "http://203.0.113.7:9"}
    words = [sys.executable, "-m", "segcompass.cli", "demo", "--model", str(run), "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout and process.stderr
        try:
            assert process.stdout.readline() == f"joint full, seed 0: http://127.0.0.1:{port}/ until Ctrl+C\n"
            with urlopen(f"http://127.0.0.1:{port}/", timeout=300) as answer:
                assert answer.headers["Content-Security-Policy"] == POLICY and b"SegCompass" in answer.read()
            config = urlopen(f"http://127.0.0.1:{port}/config", timeout=300).read()
            assert b'"analytics_enabled":false' in config.replace(b" ", b"")
            for place in (f"file={run}/run.json", "file=/etc/hostname"):
                with pytest.raises(OSError, match=r"40[34]"):
                    urlopen(f"http://127.0.0.1:{port}/gradio_api/{place}", timeout=300)
            assert [path.name[:16] for path in tmp_path.iterdir()] == ["segcompass-demo-"]
            with urlopen(f"http://127.0.0.1:{port}/gradio_api/heartbeat/a", timeout=300) as beating:  # as every open page holds
                assert beating.readline()
                process.terminate()  # Ctrl+C goes the same way
                assert process.wait(300) == 0 and process.stderr.read() == ""
            assert not list(tmp_path.iterdir())
        finally:
            process.kill()
