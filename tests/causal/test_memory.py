"""Codes of many concepts are never held as one dense block."""

import subprocess
import sys


def test_the_battery_runs_at_the_size_of_the_paper_in_little_memory() -> None:
    """Libraries take a half GiB; the dense codes of two samples would be 0.4 GiB, once, and every edit of them as much again."""
    output = subprocess.run([sys.executable, "-m", "tests.causal.large_battery"], capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stderr
    assert int(output.stdout.split()[-1]) < 2 * 2**30
