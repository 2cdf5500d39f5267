"""The one form of what the causal battery measures: the files that its stages write, one run an artefact, and what reads several runs.

`measurements.csv`, one row a measurement, columns `COLUMNS`:
* `intervention` and `arm`: what was done, and to what: the edit itself or one of its controls; each module of the battery lists its own.
* `at`: size, dose, attribute or path of the edit; empty where there is none.
* `measure`: what `value` is, as the modules list it. What is not defined for a sample is absent.
* `benchmark`, `split`, `sample_id`, `image`: whose it is. Intervals resample images, since an image's expressions are not independent. The
  samples of a study are the same for every run, so that seeds are crossed with images.

`balance.csv`, columns `BALANCE`: in `quantity` (frequency, mass, norm) and `token_type`, what an edit touches over what its control `arm`
touches, as the geometric mean over samples; 1 is balance. It depends on the size of the edit, `at`, as measurements do.

Nothing here estimates: means and intervals are formed over runs.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from segcompass.errors import damaged
from segcompass.numerics.tables import finite_frame
from segcompass.protocols.csv_rows import write_frame
from segcompass.provenance.stage import read_run

MEASUREMENTS, BALANCES = "measurements.csv", "balance.csv"
INTERVENTIONS = ("curve", "dose", "composition", "attribution", "traceability", "sham", "swap", "thought_swap", "paths")
PATHS = ("visual", "instruction", "thought", "reference")
"""Roads into an interface, the places `at` of the intervention `paths`."""
QUANTITIES = ("frequency", "mass", "norm")
DIGITS = "%.7g"
"""As many as float32 has."""
_MAY_BE_NUMBERS = ("at", "sample_id", "image")
"""Texts that pandas would take for numbers if it read them as categories at once, which is faster."""
_WORDS = re.compile(r"^[a-z]+(_[a-z0-9]+)*$")


class Measurement(NamedTuple):
    """One row of `measurements.csv`."""

    intervention: str
    arm: str
    at: str
    measure: str
    benchmark: str
    split: str
    sample_id: str
    image: str
    value: float


class Balance(NamedTuple):
    """One row of `balance.csv`."""

    intervention: str
    arm: str
    at: str
    quantity: str
    token_type: str
    ratio: float


COLUMNS = Measurement._fields
BALANCE = Balance._fields


def write_measurements(measurements: Iterable[Measurement], balances: Iterable[Balance], folder: Path) -> int:
    """Writes both files of a run; measurements that are not defined (NaN) are left out.

    Returns:
        Rows of `measurements.csv`.

    Raises:
        ValueError: an intervention or quantity is unknown, a name is not made of lower-case words, or a measurement stands there twice.
        InputError: a measurement is infinite.
    """
    rows = pd.DataFrame(measurements, columns=list(COLUMNS)).dropna(subset="value")
    finite_frame(rows, folder / MEASUREMENTS, "nothing of that kind is published; look at the run that was edited")
    ratios = pd.DataFrame(balances, columns=list(BALANCE)).dropna(subset="ratio")
    for frame in (rows, ratios):
        _check(frame, "intervention", INTERVENTIONS)
        _check(frame, "arm", None)
    _check(rows, "measure", None)
    _check(ratios, "quantity", QUANTITIES)
    twice = rows[rows.duplicated(list(COLUMNS[:-1]))]
    if len(twice):
        raise ValueError(f"a measurement stands there twice: {', '.join(map(str, twice.iloc[0, :-1]))}")
    write_frame(rows, folder / MEASUREMENTS, float_format=DIGITS)
    write_frame(ratios, folder / BALANCES, float_format=DIGITS)
    return len(rows)


def read_measurements(folders: Sequence[Path]) -> pd.DataFrame:
    """`measurements.csv` of several runs, one below the other, with the run's `variant` and `seed`, whole and integral, in front.

    Texts are categories, whose order is that of their first appearance.

    Raises:
        InputError: a file is missing, has other columns or holds an infinite value.
    """
    return _joined([_read(folder, MEASUREMENTS, COLUMNS) for folder in folders], ["variant", "seed", *COLUMNS])


def read_balances(folders: Sequence[Path]) -> pd.DataFrame:
    """`balance.csv` of several runs, likewise.

    Raises:
        InputError: a file is missing or has other columns.
    """
    return _joined([_read(folder, BALANCES, BALANCE) for folder in folders], ["variant", "seed", *BALANCE])


def geometric_mean(ratios: np.ndarray) -> float:
    """Of the positive, finite ratios [n]; NaN where there is none."""
    known = ratios[np.isfinite(ratios) & (ratios > 0)]
    return float(np.exp(np.log(known).mean())) if len(known) else float("nan")


def _check(frame: pd.DataFrame, column: str, known: Sequence[str] | None) -> None:
    for name in frame[column].unique():
        if (known is not None and name not in known) or not _WORDS.match(name):
            raise ValueError(f"{column} `{name}` is none of {', '.join(known) if known else 'lower-case words joined by _'}")


def _read(folder: Path, name: str, columns: Sequence[str]) -> pd.DataFrame:
    types = {column: str if column in _MAY_BE_NUMBERS else "category" for column in columns[:-1]} | {columns[-1]: float}
    try:
        frame = pd.read_csv(folder / name, dtype=types, na_filter=False, encoding="utf-8")
        if list(frame.columns) != list(columns):
            raise ValueError(f"its columns are {', '.join(map(str, frame.columns))}")
    except (OSError, ValueError) as error:
        raise damaged(folder, name, f"is no table of the causal battery ({error})") from error
    if columns is COLUMNS:
        finite_frame(frame, folder / name, f"delete {folder} and start the pipeline again")
    wildcards = read_run(folder)["wildcards"]
    return frame.assign(variant=str(wildcards["variant"]), seed=int(wildcards["seed"]))


def _joined(frames: list[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    if not frames:
        return pd.DataFrame(columns=list(columns))
    texts = [name for name in columns if name not in ("seed", "value", "ratio")]
    known = {name: list(dict.fromkeys(value for frame in frames for value in frame[name].unique())) for name in texts}
    alike = [frame.assign(**{name: pd.Categorical(frame[name], known[name]) for name in texts}) for frame in frames]
    return pd.concat(alike, ignore_index=True)[list(columns)]
