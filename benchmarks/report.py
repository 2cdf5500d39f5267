"""Runs the benchmarks and writes `docs/benchmarks.md`: each ratio against its named alternative, and growth against its prediction.

`make bench` runs all of them; `--only joint.py` runs one and keeps what was measured of the others. What every script printed last, with
the processor and the versions it was measured with, is kept in `docs/benchmarks.json`, from which the page follows. Exit code 1 if a ratio
stays below its bar; bars were set for two cores on a machine that does nothing else.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from segcompass.instruction_set import settings
from segcompass.provenance.processor import cpu_info

FOLDER = Path(__file__).parent
RECORD, PAGE = FOLDER.parent / "docs" / "benchmarks.json", FOLDER.parent / "docs" / "benchmarks.md"
LIBRARIES = ("torch", "transformers", "sae-lens", "pycocotools", "numpy")
HEAD = """# Benchmarks

Written by `make bench` (`benchmarks/report.py`) from `docs/benchmarks.json`; do not edit it by hand. Each script says in its first lines
what it compares and how it is timed. A ratio says how many times as fast the first is; bars are what this repository promises on an idle
machine with two cores. Results of studies do not depend on any of this.
"""


class Row(NamedTuple):
    """A ratio that a script prints: where in its last line, of what against what, and the least it must be."""

    script: str
    place: tuple[str, ...]
    ours: str
    alternative: str
    bar: float | None


ROWS = (
    Row("sae.py", ("relu_l1", "ratio"), "training of a ReLU dictionary, tokens a second", "SAELens, `standard`", 4.5),
    Row("sae.py", ("topk", "ratio"), "training of a top-k dictionary, tokens a second", "SAELens, `topk`", 6.0),
    Row("joint.py", ("ratio",), "joint training, prompts a second", "the plain step, `benchmarks/plain/joint_step.py`", 4.0),
    Row("rollout.py", ("ratio",), "eight answers a prompt", "`generate` of transformers over repeated prompts", 3.4),
    Row("score.py", ("ratio",), "scoring of masks, samples a second", "the dense loop of the usual evaluators", None),
)
GROWTH = "growth.py"
SCRIPTS = tuple(dict.fromkeys([row.script for row in ROWS] + [GROWTH]))


def measured(script: str) -> dict[str, Any]:
    """Runs a script; its last line, and what it was measured with."""
    done = subprocess.run([sys.executable, str(FOLDER / script)], stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, end="", flush=True)
    return {
        "result": json.loads(done.stdout.splitlines()[-1]),
        "processor": cpu_info().get("model name", platform.machine()),
        "cores": os.cpu_count(),
        "instructions": settings(),
        "date": datetime.now(UTC).date().isoformat(),
        "load": round(os.getloadavg()[2], 1),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    }


def page(record: dict[str, Any]) -> str:
    """The page's Markdown from the record; scripts that were not run have no row."""
    lines = [HEAD, "| script | what | against | ratio | bar | held |", "|---|---|---|---:|---:|---|"]
    for row in ROWS:
        if row.script in record:
            ratio = ratio_of(row, record)
            bar, held = (f"{row.bar:g}", "yes" if ratio >= row.bar else "no") if row.bar else ("", "")
            lines.append(f"| `{row.script}` | {row.ours} | {row.alternative} | {ratio:.2f} | {bar} | {held} |")
    if growth := record.get(GROWTH):
        lines += [
            "",
            "## Growth",
            "",
            "`benchmarks/growth.py`: exponents between the two largest points, each in a process of its own. Time is",
            "",
        ]
        lines[-2] += " the processor's; memory is the peak beyond what the process held before, of the corpus the whole peak."
        lines += [
            "| core | varied | from | to | time | predicted | memory | predicted | largest | because |",
            "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
        ]
        lines += [_growth_row(law) for law in growth["result"]["laws"]]
    lines += ["", "## Measured with", "", "| script | processor | cores | load | date | versions |", "|---|---|---:|---:|---|---|"]
    for script in (name for name in SCRIPTS if name in record):
        own = record[script]
        versions = ", ".join(f"{name} {number}" for name, number in sorted(own["versions"].items()))
        lines.append(f"| `{script}` | {own['processor']} | {own['cores']} | {own['load']} | {own['date']} | {versions} |")
    lines += [
        "",
        "Load is the machine's mean over 15 minutes when the script ended: above the number of its threads, others were at work too.",
        "",
    ]
    return "\n".join(lines)


def ratio_of(row: Row, record: dict[str, Any]) -> float:
    """A row's ratio in the record."""
    value: Any = record[row.script]["result"]
    for name in row.place:
        value = value[name]
    return float(value)


def missed(record: dict[str, Any]) -> list[str]:
    """Ratios below their bars, in words."""
    known = [row for row in ROWS if row.script in record and row.bar]
    return [f"{row.script}: {row.ours}: {ratio_of(row, record):.2f}, below {row.bar:g}" for row in known if ratio_of(row, record) < row.bar]


def _growth_row(law: dict[str, Any]) -> str:
    predicted = [f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in (law["time"], law["memory"])]
    first, last = law["points"][0], law["points"][-1]
    most = f"{last['seconds']:.2f} s, {last['mb'] + (last['before_mb'] if law['memory'] == [0, 0] else 0):.0f} MB"
    unit = "x" if law["varied"] == "corpus" else ""
    exponents = f"{law['time_exponent']:.2f} | {predicted[0]} | {law['memory_exponent']:.2f} | {predicted[1]}"
    return f"| {law['core']} | {law['varied']} | {first['value']}{unit} | {last['value']}{unit} | {exponents} | {most} | {law['because']} |"


def main(argv: list[str] | None = None) -> int:
    """Runs the scripts, keeps what they print, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS, help="run these alone")
    given = parser.parse_args(argv)
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    for script in given.only:
        print(script, flush=True)
        record[script] = measured(script)
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        PAGE.write_text(page(record), encoding="utf-8")
    for problem in (found := missed(record)):
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
