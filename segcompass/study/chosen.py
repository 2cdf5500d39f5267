"""Which study a run of the pipeline builds: `--config study=NAME`, `--configfile params/NAME.yaml`, or the default one.

A study is one file of `params/`, whole: no key of it is taken from a command line, because what a job reads must stand in a file that DVC
and a later reader see. What would be ignored is refused.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segcompass.errors import InputError
from segcompass.study.load import read_yaml

DEFAULT = "default"
CONFIG_KEYS = ("study", "launch")
"""Keys of Snakemake's configuration that the workflow reads; `launch` says how a stage is started (docs/scale.md)."""


def chosen_study(given: Mapping[str, Any], files: Sequence[Path], params: Path = Path("params")) -> str:
    """Name of the study.

    Args:
        given: keys of `--config`.
        files: files of `--configfile`.
        params: folder of the study files.

    Raises:
        InputError: something is given that the workflow would not read, or two studies are named.
    """
    for key in given:
        if key not in CONFIG_KEYS:
            problem = "is not read: a study is one file, so edit that, or name another one with `--config study=NAME`"
            raise InputError(None, f"--config {key}", problem)
    names = {str(given["study"])} if "study" in given else set()
    for path in files:
        raw = read_yaml(path)
        if not isinstance(raw, dict):
            raise InputError(path, "", "must hold keys: name a study of params/, or a file with the key `launch`")
        names |= {str(raw["study"])} if "study" in raw else set()
        sections = [key for key in raw if key not in CONFIG_KEYS]
        own = params / f"{raw.get('study')}.yaml"
        if sections and not (own.is_file() and own.samefile(path)):
            raise InputError(
                path, str(sections[0]), f"is not read from here; a study lies in {params}/ under its own name, so put it there"
            )
    if len(names) > 1:
        raise InputError(
            None, "study", f"is both {' and '.join(f'`{name}`' for name in sorted(names))}; name one, and run the other after it"
        )
    name = next(iter(names), DEFAULT)
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise InputError(None, "study", f"`{name}` is no name of a study: small letters, digits and _, as in params/{DEFAULT}.yaml")
    if not (params / f"{name}.yaml").is_file():
        known = ", ".join(sorted(path.stem for path in params.glob("*.yaml")))
        raise InputError(params / f"{name}.yaml", "", f"does not exist; there are {known}, and a copy of one of them makes a new study")
    return name
