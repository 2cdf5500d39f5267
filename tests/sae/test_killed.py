"""Training that is killed at any moment ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
FILES = ("sae_weights.safetensors", "cfg.json", "curves.json", "metrics.json")


def process(cache: Path, folder: Path, steps: int, pause: float) -> "subprocess.Popen[str]":
    command = [sys.executable, str(Path(__file__).with_name("training_process.py")), str(cache), str(folder), str(steps), str(pause)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, text=True)


def test_killed_at_any_moment_it_ends_with_the_same_bytes(cache: Path, tmp_path: Path) -> None:
    assert process(cache, tmp_path / "whole", 40, 0.0).wait() == 0
    point = tmp_path / "killed" / "resume" / "sae.safetensors"
    moments = np.random.default_rng(time.time_ns()).uniform(0.0, 0.3, 3).tolist()
    kills = 0
    for moment in moments:
        running = process(cache, tmp_path / "killed", 40, 0.02)
        seen = point.stat().st_mtime_ns if point.exists() else 0
        while running.poll() is None and not (point.exists() and point.stat().st_mtime_ns > seen):
            time.sleep(0.005)
        time.sleep(moment)
        running.send_signal(signal.SIGKILL)
        kills += running.wait() == -signal.SIGKILL
    assert kills >= 1, "it was killed at least once with a resume point behind it"
    assert process(cache, tmp_path / "killed", 40, 0.0).wait() == 0
    for name in FILES:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), f"{name}, killed after {moments} s"
