"""Whether two reports of one study, made on two machines, say the same: number by number, within their intervals.

Works on any nested `numbers.json`. A number with an interval is `value` or `mean` beside `low` and `high`; or `X` beside `X_low` and
`X_high`; or, over seeds, `mean` beside `sd` and `seeds`, whose interval is Student's. Numbers without an interval cannot be compared.
Two numbers agree when they lie no further apart than an interval of their difference reaches: the two half-widths that face each
other, added in quadrature. Of a hundred numbers that are the same but for chance, five lie outside 95 % intervals; so the intervals
are widened, by Bonferroni's correction for all that are compared, until one report in twenty has any.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import NormalDist
from typing import Any

from scipy.stats import t as student

from segcompass.errors import InputError

LEVEL = 0.95
"""Of the intervals in the reports, and of the whole comparison."""
RELATIVE, ABSOLUTE = 1e-6, 1e-6
"""Reports round to six digits."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """The same number in two reports."""

    path: str
    """Keys of the file, joined by `/`."""
    first: Estimate
    second: Estimate
    widening: float
    """What half-widths are multiplied by, because many numbers are compared."""

    @property
    def apart(self) -> float:
        """Distance of the two values in units of what chance allows; above 1 they do not agree."""
        distance = abs(self.first.value - self.second.value)
        below, above = sorted((self.first, self.second), key=lambda estimate: estimate.value)
        allowed = self.widening * math.hypot(above.value - above.low, below.high - below.value)
        allowed += ABSOLUTE + RELATIVE * abs(self.first.value)
        return distance / allowed

    @property
    def agrees(self) -> bool:
        """Whether chance alone explains the distance."""
        return self.apart <= 1


def estimates(numbers: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Estimate]]:
    """Every number of a nested file that has an interval, with its path."""
    centre = next((key for key in ("value", "mean") if _is_number(numbers.get(key))), None)
    if centre is not None:
        found = _interval(numbers, centre, "low", "high") or _over_seeds(numbers, centre)
        if found:
            yield at, found
    for key, value in numbers.items():
        path = f"{at}/{key}" if at else key
        if isinstance(value, Mapping):
            yield from estimates(value, path)
        elif _is_number(value) and (found := _interval(numbers, key, f"{key}_low", f"{key}_high")):
            yield path, found


def compared(first: Path, second: Path, patterns: list[str]) -> list[Pair]:
    """Numbers that both reports have and whose path one of the patterns matches, those furthest apart first.

    Args:
        first: folder of a report.
        second: folder of the other.
        patterns: as shells have them; `*` matches `/` too.

    Raises:
        InputError: a report has no readable `numbers.json`, or the two have no such number in common.
    """
    ours, theirs = dict(estimates(_read(first))), dict(estimates(_read(second)))
    common = [path for path in ours if path in theirs and any(fnmatchcase(path, pattern) for pattern in patterns)]
    if not common:
        problem = f"has no number with an interval that {first / 'numbers.json'} has too and `{' '.join(patterns)}` matches"
        raise InputError(second / "numbers.json", "", f"{problem}; name two reports of one study, or other patterns")
    widening = NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / len(common)) / NormalDist().inv_cdf((1 + LEVEL) / 2)
    pairs = [Pair(path, ours[path], theirs[path], widening) for path in common]
    return sorted(pairs, key=lambda pair: -pair.apart)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "numbers.json"
    try:
        numbers = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error.strerror}); name a report's folder, reports/<study>") from error
    except ValueError as error:
        raise InputError(path, "", "is not valid JSON; restore it, or make the report again") from error
    if not isinstance(numbers, dict):
        raise InputError(path, "", "does not hold numbers by name; name a report's folder, reports/<study>")
    return numbers


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _interval(numbers: Mapping[str, Any], value: str, low: str, high: str) -> Estimate | None:
    if not (_is_number(numbers.get(low)) and _is_number(numbers.get(high))):
        return None
    # A percentile interval of few, lopsided draws may lie beside its value.
    centre = float(numbers[value])
    return Estimate(centre, min(float(numbers[low]), centre), max(float(numbers[high]), centre))


def _over_seeds(numbers: Mapping[str, Any], mean: str) -> Estimate | None:
    sd, seeds = numbers.get("sd"), numbers.get("seeds")
    if not _is_number(sd) or not isinstance(seeds, int) or seeds < 2:
        return None
    reach = float(student.ppf((1 + LEVEL) / 2, seeds - 1)) * float(numbers["sd"]) / math.sqrt(seeds)
    return Estimate(float(numbers[mean]), float(numbers[mean]) - reach, float(numbers[mean]) + reach)
