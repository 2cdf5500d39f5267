"""Which instructions of the processor the numerical libraries may use: stated here, and nowhere else.

Sums of products in another order end in other last digits, and training carries these as far as another seed does. Each library
chooses its kernels by the processor and reads its own environment variable, once, when it is imported or first computes. So the
variables must stand before torch and NumPy are imported: `segcompass.stages` sets them for a stage and `segcompass.cli` for a command,
by the study that the command line names; `tests/conftest.py` sets them for the tests.

Whatever the processor, `avx2` then runs the same kernels on every one that has AVX2: measured on thirty operations of torch, NumPy and
SciPy, each of the five variables changes the bytes of some that the other four leave alone. What remains is the libraries' own:
MKL promises one result for processors of one maker.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

InstructionSet = Literal["avx2", "native", "default"]
"""`avx2`: every x86 processor since 2015 gives the same bytes, as far as the libraries allow. `native`: all that the processor has.
`default`: what every x86 processor has, for comparison."""
PINNED: InstructionSet = "avx2"
"""Where no study says otherwise."""
VARIABLES: dict[InstructionSet, dict[str, str]] = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
        "MKL_CBWR": "AVX2",  # torch's matrix products and decompositions
        "ONEDNN_MAX_CPU_ISA": "AVX2",  # torch's convolutions and GELU
        "OPENBLAS_CORETYPE": "Haswell",  # matrix products and decompositions of NumPy and SciPy
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # NumPy's functions of one number
    },
    "default": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    },
    "native": {},
}
"""Environment of each instruction set; a variable that is not named is not set."""
NAMES = tuple(VARIABLES["avx2"])
"""Every variable that decides."""


def pin(name: InstructionSet) -> None:
    """Sets the variables in this process, and so in those that it starts."""
    for variable in NAMES:
        os.environ.pop(variable, None)
    os.environ.update(VARIABLES[name])


def settings() -> dict[str, str | None]:
    """Variable -> its value in this process, None where it is not set."""
    return {variable: os.environ.get(variable) for variable in NAMES}


def is_pinned(name: InstructionSet) -> bool:
    """Whether this process has exactly the variables of `name`."""
    return settings() == {variable: VARIABLES[name].get(variable) for variable in NAMES}


def asked_by(words: Sequence[str]) -> InstructionSet:
    """What the study asks that a command line names, by its frozen keys, by a run that it trained, or by its file.

    A file that cannot be read, or has no such key, asks for nothing: the command itself will say what is wrong with it.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    for flag in ("--params", "--model", "--study"):
        parser.add_argument(flag, type=Path)
    try:
        given, _ = parser.parse_known_args(words)
        for source in (given.params, given.model and given.model / "run.json", given.study):
            if source is not None:
                return _of_study(source)
    except (argparse.ArgumentError, OSError, ValueError, LookupError, TypeError):
        pass
    return PINNED


def _of_study(path: Path) -> InstructionSet:
    text = path.read_text(encoding="utf-8")
    keys: Mapping[str, Any]
    if path.suffix == ".json":
        keys = json.loads(text)["params"]
    else:
        import yaml  # stages never need it

        keys = yaml.safe_load(text)
    name = keys["runtime"]["instruction_set"]
    if name not in get_args(InstructionSet):
        raise ValueError(name)
    return name
