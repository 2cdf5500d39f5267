"""The last check before a report is written: every artefact is the one that the study file asks for, made from the inputs that lie here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcompass.errors import InputError
from segcompass.provenance.stage import fingerprint, read_run

REMEDY = "rerun the pipeline (`snakemake --cores all --use-conda reproduce_all`)"


def verify_artefacts(folders: list[Path], expected: Mapping[str, Mapping[str, Any]]) -> None:
    """Compares each `run.json` with what the study expects.

    Args:
        folders: artefacts that were given.
        expected: artefact's folder -> stage, wildcards, params and code that it must have.

    Raises:
        InputError: an artefact is missing, of other params, other code or other inputs, or was changed by hand.
    """
    given = {str(folder) for folder in folders}
    if absent := sorted(set(expected) - given):
        raise InputError(Path(absent[0]), "", f"is part of the study but was not given; {REMEDY}")
    records = {name: read_run(Path(name)) for name in expected}
    for name, wanted in expected.items():
        record, path = records[name], Path(name) / "run.json"
        for key, value in wanted.items():
            if record.get(key) != value:
                raise InputError(path, key, f"differs from the study file{_difference(record.get(key), value)}; {REMEDY}")
        if record.get("fingerprint") != fingerprint(record):
            raise InputError(path, "fingerprint", f"does not fit the record, which was changed by hand; {REMEDY}")
        for folder, mark in record["inputs"].items():
            if read_run(Path(folder)).get("fingerprint") != mark:
                raise InputError(path, f"inputs.{folder}", f"is no longer the artefact that was read; {REMEDY}")


def _difference(found: Any, wanted: Any) -> str:
    """The first key that differs, in words."""
    if not isinstance(found, dict) or not isinstance(wanted, dict):
        return ""
    for key in sorted({*found, *wanted}):
        if found.get(key) != wanted.get(key):
            return f" in `{key}`{_difference(found.get(key), wanted.get(key))}"
    return ""
