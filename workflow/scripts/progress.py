"""Reads what Snakemake says on standard input and prints a line a finished job: how far the study is, and about how long it still takes.

What is no account of a single job, such as a fault, is passed on as it is. The whole text is kept in `logs/snakemake.log`.
"""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

JOB = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):$")
FIELD = re.compile(r"    (jobid|wildcards): (.+)$")
ENDED = re.compile(r"Finished jobid: (\d+)")
DONE = re.compile(r"(\d+) of (\d+) steps \(\d+%\) done$")
COUNT = re.compile(r"(\w+) +(\d+)$")
SILENT = re.compile(r"\[\w{3} \w{3} +\d+ |Select jobs to execute|Execute \d+ jobs|Removing temporary output|$")


class Progress:
    """What is known of the run so far; times in seconds on any one clock."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.left: Counter[str] = Counter()
        """Rule -> jobs that have not ended."""
        self._took: dict[str, list[float]] = {}
        self._running: dict[str, tuple[str, str, float]] = {}
        self._ended: list[tuple[str, str, float]] = []
        self._rule = self._job = ""
        self._counting = False

    def heard(self, line: str, now: float) -> list[str]:
        """Takes in a line; returns what is to be printed."""
        if self._counts(line):
            return [line]
        if found := JOB.match(line):
            self._rule = found[1]
            return []
        if found := FIELD.match(line) if self._rule else None:
            self._field(found[1], found[2], now)
            return []
        if self._rule and line.startswith("    "):
            return []
        self._rule = ""
        if found := ENDED.match(line):
            self._end(found[1], now)
            return []
        if found := DONE.match(line):
            return self._lines(int(found[1]), int(found[2]), now)
        return [] if SILENT.match(line) else [line]

    def seconds_left(self, now: float) -> float:
        """Work that is left, by what jobs of the same rule took (of one not seen yet: any job), at the pace of the work so far."""
        everything = [seconds for took in self._took.values() for seconds in took]
        if not everything or now <= self.started:
            return 0.0
        mean = sum(everything) / len(everything)
        expected = sum(count * (sum(took) / len(took) if (took := self._took.get(rule)) else mean) for rule, count in self.left.items())
        spent = sum(now - start for _, _, start in self._running.values())
        return max(0.0, expected - spent) * (now - self.started) / (sum(everything) + spent)

    def _counts(self, line: str) -> bool:
        """Whether the line belongs to the table of jobs that Snakemake begins with."""
        if line == "Job stats:":
            self._counting = True
        elif self._counting and (found := COUNT.match(line)):
            if found[1] not in ("job", "total"):
                self.left[found[1]] = int(found[2])
        elif self._counting and not line:
            self._counting = False
        return self._counting

    def _field(self, name: str, value: str, now: float) -> None:
        if name == "jobid":
            self._job = value
            self._running[value] = (self._rule, "", now)
        elif self._job in self._running:
            rule, _, start = self._running[self._job]
            shown = " ".join(part.split("=")[1] for part in value.split(", ") if not part.startswith("study="))
            self._running[self._job] = (rule, shown, start)

    def _end(self, job: str, now: float) -> None:
        rule, shown, start = self._running.pop(job, ("", "", now))
        if rule:
            self._took.setdefault(rule, []).append(now - start)
            self.left[rule] -= 1
            self._ended.append((rule, shown, now - start))

    def _lines(self, done: int, total: int, now: float) -> list[str]:
        left = f"about {self.seconds_left(now) / 60:.0f} min left" if done < total else f"done in {(now - self.started) / 60:.0f} min"
        lines = [
            f"{done:>4} of {total} ({100 * done / total:.0f} %)  {rule} {shown}".rstrip() + f"  {took:.0f} s, {left}"
            for rule, shown, took in self._ended
        ]
        self._ended.clear()
        return lines


def main(lines: Iterable[str]) -> int:
    """Prints what comes of the lines as they come."""
    log = Path("logs", "snakemake.log")
    log.parent.mkdir(exist_ok=True)
    progress = Progress(time.monotonic())
    with log.open("w", encoding="utf-8") as kept:
        for line in lines:
            kept.write(line)
            kept.flush()
            for shown in progress.heard(line.rstrip("\n"), time.monotonic()):
                print(shown, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.stdin))
